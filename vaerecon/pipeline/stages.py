"""One clip through the whole flow, in memory or from file to file: the same code.

Every stage reads the track of the stage before and writes its own (:mod:`vaerecon.audio.buffers`),
window by window (:mod:`vaerecon.utils.windows`). A clip of one window is computed whole; an hour
takes the memory of one window and, on disk, about 1,150 MB while it runs, beside its results.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vaerecon import metrics
from vaerecon.audio.buffers import FolderStore, Store, Track
from vaerecon.audio.clip import Clip, SoundStream
from vaerecon.audio.samples import measure_level
from vaerecon.mel.config import MelConfig
from vaerecon.mel.front_end import log_mel_section
from vaerecon.methods import get_method
from vaerecon.models import autoencoder
from vaerecon.pipeline.result import (
    ClipFacts,
    MethodResult,
    Reconstruction,
    original_name,
    wav_name,
)
from vaerecon.pipeline.synthesis import Models, synthesized
from vaerecon.utils.windows import WindowPlan, overlap_windows, split

WARM_UP = 16  # frames


@dataclass(frozen=True)
class Request:
    """What is wanted of a run; see :meth:`vaerecon.ReconstructionPipeline.__call__`."""

    methods: tuple[str, ...]  # checked
    without_vae: bool = True
    sample: bool = False
    seed: int = 0
    exclude_metrics: tuple[str, ...] = ()


def reconstruct(
    models: Models,
    clip: Clip | ClipFacts,
    samples: Track,
    store: Store,
    request: Request,
    stem: str,
    progress_bar: Callable[..., Any],
) -> Reconstruction:
    """Send ``samples`` through the VAE and back, and measure what returns.

    Parameters
    ----------
    models
        Those of the pipeline.
    clip
        Goes into the result as it is.
    samples
        Of the clip, at 16 kHz.
    store
        Where to keep what is computed: decides between memory and files.
    request
        What to do.
    stem
        First part of the names of wav files, if there are any.
    progress_bar
        Makes one of a ``total``, as :meth:`diffusers.DiffusionPipeline.progress_bar`.
    """
    config = models.config
    n_samples = len(samples)
    n_frames = config.n_frames(n_samples)
    chunk, block = models.chunk, models.chunk * config.hop_length
    names = list(dict.fromkeys([*request.methods, "silence"]))
    jobs = [(True, name) for name in names]
    jobs += [(False, name) for name in names if request.without_vae]

    seconds = n_samples / config.sample_rate
    if n_samples < config.n_fft:
        warnings.warn(
            f"the clip lasts {1000 * seconds:.0f} ms, less than one window of the mel "
            f"({1000 * config.n_fft / config.sample_rate:.0f} ms): the numbers are those of the "
            "padding as much as of the sound",
            stacklevel=3,
        )
    # encoder, decoder, and of each job the synthesis and the metrics
    with progress_bar(total=seconds * (2 + 2 * len(jobs))) as bar:

        def counted(pieces: Iterable[torch.Tensor], axis: int, length: int) -> Iterator:
            for piece in pieces:
                yield piece
                bar.update(seconds * piece.shape[axis] / length)

        bar.set_description("VAE")
        level = measure_level(n_samples, samples.read, block)
        normalized = store.keep(level.apply(samples.read(a, b)) for a, b in split(n_samples, block))
        reference = store.keep(
            (level.restore(normalized.read(a, b)) for a, b in split(n_samples, block)),
            wav=original_name(stem),
            n_samples=n_samples,
        )
        mel = store.keep(_mel(normalized, n_frames, config, chunk, models.device), axis=-2)
        latent = store.keep(
            counted(_latent(models.vae, mel, request, chunk), -2, -(-n_frames // 4)), axis=-2
        )
        decoded = store.keep(
            counted(_decoded(models.vae, latent, n_frames, chunk), -2, n_frames), axis=-2
        )
        _warm_up(models, names, mel, normalized)

        results: dict[bool, dict[str, MethodResult]] = {True: {}, False: {}}
        for through_vae, name in jobs:
            method = get_method(name)
            if not through_vae and not method.uses_mel:
                results[False][name] = results[True][name]  # the VAE cannot change it
                bar.update(2 * seconds)
                continue
            title = name if through_vae else f"{name}, without VAE"
            bar.set_description(title)
            clock = _Clock()
            pieces = synthesized(
                models,
                method,
                (decoded if through_vae else mel).read,
                n_frames,
                n_samples,
                torch.Generator().manual_seed(request.seed),
                normalized.read,
            )
            pieces = (level.restore(piece) for piece in clock.timed(pieces))
            file = wav_name(stem, name) if through_vae and name != "silence" else None
            sound = store.keep(counted(pieces, -1, n_samples), wav=file, n_samples=n_samples)

            def measured(metric: str, title: str = title) -> None:
                bar.set_description(f"{title}, {metric}")
                bar.update(seconds / len(metrics.METRICS))

            results[through_vae][name] = MethodResult(
                samples=sound.content,
                seconds=clock.seconds,
                lag=models.needs["lag"]() if "lag" in method.needs else 0,
                gain=1.0 / float(level.gain),
                scores=metrics.evaluate(
                    reference, sound, exclude=request.exclude_metrics, on_metric=measured
                ),
            )
            if not through_vae:
                store.drop(sound)
    return Reconstruction(
        clip=clip,
        reference=reference.content,
        mel=mel.content,
        latent=latent.content,
        mel_decoded=decoded.content,
        methods=results[True],
        without_vae=results[False],
        model=models.facts,
        seed=request.seed,
    )


def spool(sound: SoundStream, store: FolderStore) -> tuple[ClipFacts, Track]:
    """Read an open sound file to its end, into a track; with it what is to be said of the clip."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[torch.Tensor]:
        for block in sound.blocks:
            digest.update(block.astype("<f4", copy=False).data)
            yield torch.from_numpy(np.ascontiguousarray(block))

    track = store.keep(pieces())
    return ClipFacts(sound.name, sound.sample_rate, len(track), digest.hexdigest()), track


class _Clock:
    """Adds up the time that pieces take to be made, not what is done with them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, pieces: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        while True:
            started = time.perf_counter()
            piece = next(pieces, None)
            if piece is None:
                return
            piece = piece.cpu()  # waits for an accelerator
            self.seconds += time.perf_counter() - started
            yield piece


def _mel(
    normalized: Track, n_frames: int, config: MelConfig, chunk: int, device: torch.device
) -> Iterator[torch.Tensor]:
    def read(start: int, stop: int) -> torch.Tensor:
        return normalized.read(start, stop).to(device)

    def window(first: int, last: int) -> torch.Tensor:
        return log_mel_section(read, len(normalized), first, last, config)

    plan = WindowPlan(chunk, 0, 0, config.frames_per_second)  # exact without an overlap
    return overlap_windows(n_frames, window, plan, axis=-2, stage="log-mel")


def _latent(vae: Any, mel: Track, request: Request, chunk: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(request.seed)
    for mean, logvar in autoencoder.posterior_pieces(vae, mel.read, len(mel), chunk=chunk):
        yield autoencoder.draw(mean, logvar, generator) if request.sample else mean


def _decoded(vae: Any, latent: Track, n_frames: int, chunk: int) -> Iterator[torch.Tensor]:
    left = n_frames  # the encoder padded to whole latent positions
    for piece in autoencoder.decoded_pieces(vae, latent.read, len(latent), chunk=chunk):
        yield piece[:left]
        left -= len(piece)


def _warm_up(models: Models, names: list[str], mel: Track, original: Track) -> None:
    """Run each new method on a few frames: what only a first call costs is not a method's time."""
    n_frames = min(WARM_UP, len(mel))
    n_samples = min(n_frames * models.config.hop_length, len(original))
    for name in names:
        if name not in models.warm:
            generator = torch.Generator().manual_seed(0)
            method = get_method(name)
            pieces = synthesized(
                models, method, mel.read, n_frames, n_samples, generator, original.read
            )
            deque(pieces, maxlen=0)  # computes them, keeps none
            models.warm.add(name)
