"""Stages of a run, from samples to metrics, for clips in memory and for files.

Every stage reads the track of the previous stage and writes its own (:mod:`vaerecon.audio.buffers`)
window by window (:mod:`vaerecon.utils.windows`). An hour of sound needs the memory of one window
and about 700 MB of temporary files on disk, besides its results.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from vaerecon import metrics
from vaerecon.audio.buffers import FolderStore, MemoryStore, Store, Track
from vaerecon.audio.clip import SoundStream
from vaerecon.audio.samples import Level, measure_level
from vaerecon.mel.config import MelConfig
from vaerecon.mel.front_end import log_mel_section
from vaerecon.methods import get_method, select_methods
from vaerecon.metrics.scores import metric_names
from vaerecon.models import autoencoder
from vaerecon.pipeline.facts import ClipFacts, MethodResult, Tracks
from vaerecon.pipeline.output import original_name, wav_name
from vaerecon.pipeline.result import Reconstruction
from vaerecon.pipeline.synthesis import Models, synthesized
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.numbers import check_whole
from vaerecon.utils.windows import overlap_windows, split

WARM_UP = 16  # frames of the first call of a method, which is not timed
BLOCK = 3000  # frames of two mels that are compared at once


@dataclass(frozen=True)
class Request:
    """Settings of a run; see :meth:`vaerecon.ReconstructionPipeline.__call__`."""

    methods: tuple[str, ...]
    without_vae: bool = True
    sample: bool = False
    seed: int = 0
    exclude_metrics: tuple[str, ...] = ()
    keep_without_vae: bool = False  # write the sounds without the VAE too

    @classmethod
    def of(
        cls, methods: str | Iterable[str], without_vae: bool, sample: bool, seed: int,
        exclude_metrics: Iterable[str], keep_without_vae: bool = False,
    ) -> Request:  # fmt: skip
        """Return a request, after checking names and seed."""
        check_whole(seed, "seed")
        names = tuple(select_methods(methods))
        excluded = tuple(metric_names("exclude_metrics", exclude_metrics))
        return cls(names, without_vae, sample, seed, excluded, keep_without_vae)


@dataclass(frozen=True)
class _Run:
    """State of a run that all its stages use."""

    models: Models
    store: Store
    request: Request
    stem: str  # first part of the names of wav files, if any are written
    n_samples: int
    bar: Any  # a progress bar that counts seconds of the clip

    @property
    def n_frames(self) -> int:
        return self.models.config.n_frames(self.n_samples)

    @property
    def seconds(self) -> float:
        return self.n_samples / self.models.config.sample_rate

    def counted(
        self, pieces: Iterable[torch.Tensor], axis: int, length: int
    ) -> Iterator[torch.Tensor]:
        """Yield ``pieces``, and update the progress bar after each."""
        for piece in pieces:
            yield piece
            self.bar.update(self.seconds * piece.shape[axis] / length)

    def front_end(self, samples: Track) -> tuple[Level, Track, Track, Track]:
        """Compute the clip's level, normalised samples, reference of the metrics, and mel."""
        store, n_samples = self.store, self.n_samples
        block = self.models.plan.longest * self.models.config.hop_length  # samples read at once
        level = measure_level(n_samples, samples.read, block)
        spans = list(split(n_samples, block))
        normalized = store.keep(level.apply(samples.read(a, b)) for a, b in spans)
        store.release(samples)
        restored = (level.restore(normalized.read(a, b)) for a, b in spans)
        reference = store.keep(restored, wav=original_name(self.stem), n_samples=n_samples)
        mel = store.keep(_mel(self.models, normalized, self.n_frames), axis=-2)
        return level, normalized, reference, mel

    def through_vae(self, mel: Track) -> tuple[Track, Track]:
        """Compute the latent of a mel, and the mel that the VAE decodes from it."""
        models, request, store = self.models, self.request, self.store
        settings = (models.config, models.chunk_seconds)
        generator = torch.Generator().manual_seed(request.seed)
        found = autoencoder.posterior_pieces(models.vae, mel.read, len(mel), *settings)
        drawn = (
            autoencoder.draw(mean, logvar, generator) if request.sample else mean
            for mean, logvar in found
        )  # fmt: skip
        n_positions = math.ceil(self.n_frames / autoencoder.reduction(models.vae))
        latent = store.keep(self.counted(drawn, -2, n_positions), axis=-2)
        decoded = autoencoder.decoded_pieces(models.vae, latent.read, n_positions, *settings)
        cut = _first_frames(decoded, self.n_frames)  # the encoder padded to whole positions
        return latent, store.keep(self.counted(cut, -2, self.n_frames), axis=-2)

    def by_method(
        self, name: str, through_vae: bool, level: Level, normalized: Track, mel: Track,
        reference: Track,
    ) -> MethodResult:  # fmt: skip
        """Synthesise ``mel`` by one method, and compute the scores of the sound."""
        method, models = get_method(name), self.models
        title = name if through_vae else f"{name}, without VAE"
        self.bar.set_description(title)
        seconds: list[float] = []
        generator = torch.Generator().manual_seed(self.request.seed)
        pieces = synthesized(
            models, method, mel.read, self.n_frames, self.n_samples, generator, normalized.read
        )
        restored = (level.restore(piece) for piece in _timed(pieces, seconds))
        kept = (through_vae or self.request.keep_without_vae) and name != "silence"
        file = wav_name(self.stem, name, through_vae) if kept else None
        counted = self.counted(restored, -1, self.n_samples)
        sound = self.store.keep(counted, wav=file, n_samples=self.n_samples)

        def measured(metric: str) -> None:
            if metric not in self.request.exclude_metrics:
                self.bar.set_description(f"{title}, {metric}")
            self.bar.update(self.seconds / len(metrics.METRICS))

        scores = metrics.evaluate(
            reference, sound, exclude=self.request.exclude_metrics, on_metric=measured
        )
        return MethodResult(
            seconds=sum(seconds),
            lag=models.needs["lag"]() if "lag" in method.needs else 0,
            gain=1.0 / float(level.gain),
            scores=scores,
            track=sound if file else self.store.release(sound),
        )


def reconstruct(
    models: Models,
    clip: ClipFacts,
    samples: Track,
    store: Store,
    request: Request,
    stem: str,
    progress_bar: Callable[..., Any],
) -> Reconstruction:
    """Send the clip's ``samples`` through the VAE and back, and measure the reconstructions.

    ``store`` keeps intermediate results, in memory or in files, whose names begin with ``stem``;
    ``progress_bar`` is that of a ``DiffusionPipeline``.
    """
    _warn_of_few(len(samples), models.config)
    names = list(dict.fromkeys([*request.methods, "silence"]))
    sources = (True, False) if request.without_vae else (True,)
    results: dict[bool, dict[str, MethodResult]] = {True: {}, False: {}}
    seconds = len(samples) / models.config.sample_rate
    # encoder, decoder, and for each method and source the synthesis and the metrics
    with progress_bar(total=seconds * (2 + 2 * len(names) * len(sources))) as bar:
        bar.set_description("VAE")
        run = _Run(models, store, request, stem, len(samples), bar)
        level, normalized, reference, mel = run.front_end(samples)
        latent, decoded = run.through_vae(mel)
        _warm_up(models, names, mel, normalized)
        for through_vae, name in product(sources, names):
            if not through_vae and not get_method(name).uses_mel:
                results[False][name] = results[True][name]  # independent of the VAE
                bar.update(2 * seconds)
                continue
            results[through_vae][name] = run.by_method(
                name, through_vae, level, normalized, decoded if through_vae else mel, reference
            )
    return Reconstruction(
        clip=clip,
        frames=run.n_frames,
        vae_mae=_mean_difference(decoded, mel),
        latent_shape=list(latent.shape),
        methods=results[True],
        without_vae=results[False],
        model=models.facts,
        seed=request.seed,
        keep_without_vae=request.keep_without_vae,
        tracks=Tracks(reference, mel, latent, decoded),
    )


@torch.no_grad()
@without_autocast
def resynthesize(
    models: Models, samples: Track, request: Request
) -> tuple[Track, dict[str, MethodResult]]:
    """Return the reference and the results of the methods without the VAE, in memory.

    For mels of any settings, which are those of ``models`` (:func:`without_networks`).
    """
    run = _Run(models, MemoryStore(), request, "", len(samples), tqdm(disable=True))
    level, normalized, reference, mel = run.front_end(samples)
    _warm_up(models, list(request.methods), mel, normalized)
    results = {
        name: run.by_method(name, False, level, normalized, mel, reference)
        for name in request.methods
    }
    return reference, results


def _warn_of_few(n_samples: int, config: MelConfig) -> None:
    if n_samples < config.n_fft:
        here, window = (1000 * n / config.sample_rate for n in (n_samples, config.n_fft))
        warnings.warn(
            f"the clip lasts {here:.0f} ms, less than one window of the mel ({window:.0f} ms): the "
            "numbers depend on the padding as much as on the sound",
            stacklevel=4,
        )


def _mean_difference(one: Track, other: Track) -> float:
    """Return the mean absolute difference of two mels."""
    return sum(
        float((one.read(a, b) - other.read(a, b)).abs().mean()) * ((b - a) / len(one))
        for a, b in split(len(one), BLOCK)
    )


def read_samples(sound: SoundStream, store: FolderStore) -> tuple[ClipFacts, Track]:
    """Read an open sound file into a track; return the facts of the clip, and the track."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[torch.Tensor]:
        for block in sound.blocks:
            digest.update(block.astype("<f4", copy=False).data)
            yield torch.from_numpy(np.ascontiguousarray(block))

    track = store.keep(pieces())
    return ClipFacts(sound.name, sound.sample_rate, len(track), digest.hexdigest()), track


def _timed(pieces: Iterator[torch.Tensor], seconds: list[float]) -> Iterator[torch.Tensor]:
    """Yield ``pieces``; append to ``seconds`` the time to compute each, not to consume it."""
    started = time.perf_counter()
    for piece in pieces:
        on_cpu = piece.cpu()  # waits for an accelerator
        seconds.append(time.perf_counter() - started)
        yield on_cpu
        started = time.perf_counter()


def _mel(models: Models, normalized: Track, n_frames: int) -> Iterator[torch.Tensor]:
    def read(start: int, stop: int) -> torch.Tensor:
        return normalized.read(start, stop).to(models.device)

    def window(first: int, last: int) -> torch.Tensor:
        return log_mel_section(read, len(normalized), first, last, models.config)

    plan = replace(models.plan, overlap=0, fade=0)  # exact without an overlap
    return overlap_windows(n_frames, window, plan, axis=-2, stage="log-mel")


def _first_frames(pieces: Iterator[torch.Tensor], n_frames: int) -> Iterator[torch.Tensor]:
    for piece in pieces:
        yield piece[:n_frames]
        n_frames -= len(piece)


def _warm_up(models: Models, names: list[str], mel: Track, original: Track) -> None:
    """Run each new method on a few frames, so that timings exclude the cost of a first call."""
    n_frames = min(WARM_UP, len(mel))
    n_samples = min(n_frames * models.config.hop_length, len(original))
    for name in [name for name in names if name not in models.warm]:
        method, generator = get_method(name), torch.Generator().manual_seed(0)
        for _ in synthesized(
            models, method, mel.read, n_frames, n_samples, generator, original.read
        ):
            pass  # the sound is not needed
        models.warm.add(name)
