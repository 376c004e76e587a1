"""The reconstruction pipeline: audio, log-mel, latent, log-mel, audio, and its metrics.

>>> pipe = ReconstructionPipeline.from_pretrained("tiny")
>>> result = pipe(load_audio("song.wav"), methods=["vocoder", "griffinlim"])
>>> result.table
>>> result.save("my_results")

Level: the front-end removes the mean and scales the peak to 0.5; the output is scaled back to the
clip's level. Time: N samples in, N out, aligned. Randomness: every synthesis starts from a new
generator with the same seed, so results do not depend on the order of the methods. Length: clips
longer than ``chunk_seconds`` (30) are computed in windows, so models need the memory of one window;
:meth:`ReconstructionPipeline.reconstruct_file` also reads and writes files piece by piece.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vaerecon.audio.buffers import FolderStore, MemoryStore, MemoryTrack
from vaerecon.audio.clip import Clip, stream_audio
from vaerecon.audio.paths import check_path
from vaerecon.audio.samples import ArrayLike, as_clip, as_float32, as_samples
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig, check_model_configs
from vaerecon.mel.diagnosis import warn_once
from vaerecon.models import autoencoder, checkpoints
from vaerecon.models.precision import dtype_name
from vaerecon.models.vocoder import measure_lag
from vaerecon.pipeline import saving, stages
from vaerecon.pipeline.facts import ClipFacts, ModelFacts
from vaerecon.pipeline.output import result_folder
from vaerecon.pipeline.result import Reconstruction
from vaerecon.pipeline.synthesis import Models, synthesize
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.files import check_stem, text_to_name
from vaerecon.utils.windows import CHUNK_SECONDS

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from transformers import SpeechT5HifiGan

DEFAULT_METHODS = ("fast", "griffinlim", "vocoder")


class ReconstructionPipeline(saving.CheckpointPipeline):
    """Pipeline that sends sound through AudioLDM2's VAE and back.

    A diffusers pipeline of ``vae``, an ``AutoencoderKL`` with one channel in and out, and
    ``vocoder``, a ``SpeechT5HifiGan`` with 64 mel bins at 16 kHz: ``.to()``, ``save_pretrained``
    and progress bars are those of diffusers. ValueError if the two do not fit the front-end.
    """

    model_cpu_offload_seq = "vae->vocoder"  # type: ignore[assignment]
    vae: AutoencoderKL
    vocoder: SpeechT5HifiGan

    def __init__(self, vae: AutoencoderKL, vocoder: SpeechT5HifiGan):
        super().__init__()
        check_model_configs(vae.config, vocoder.config)
        self.register_modules(vae=vae, vocoder=vocoder)
        self._lag: int | None = None
        self.warm: set[str] = set()  # methods that have run here before (vaerecon.pipeline.stages)
        self.chunk_seconds = CHUNK_SECONDS  # s; longest window that a model computes at once

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, source: str = "tiny", **options: Any
    ) -> ReconstructionPipeline:
        """Load ``vae/`` and ``vocoder/`` of a checkpoint, and its own ``fast/`` if it has one.

        ``source`` is ``"tiny"`` (bundled), ``"music"``, ``"speech"``, ``"large"``, a folder, or a
        hub id. Options (``revision``, ``device``, ``dtype``, ...) and errors are those of
        :func:`vaerecon.models.checkpoints.load`.
        """
        loaded = checkpoints.load(source, **options)
        pipe = cls(vae=loaded.vae, vocoder=loaded.vocoder)
        pipe.variant, pipe.source, pipe.revision = loaded.variant, loaded.source, loaded.revision
        pipe.fast_folder, pipe.folder = loaded.fast, loaded.folder
        return pipe

    @property
    def mel_config(self) -> MelConfig:
        """Settings of the front-end, which the checkpoint was checked against."""
        return AUDIOLDM_MEL

    @property
    def lag(self) -> int:
        """Delay of the vocoder's output in samples, measured on the model, not on a clip."""
        if self._lag is None:
            self._lag = measure_lag(self.vocoder)
        return self._lag

    def describe(self) -> ModelFacts:
        """Return source, device, dtypes and numbers of parameters of the models."""
        return ModelFacts(
            self.variant, self.source, self.revision, str(self._execution_device),
            dtype=dtype_name(self.vae, self.vocoder),
            vae_dtype=dtype_name(self.vae),
            vocoder_dtype=dtype_name(self.vocoder),
            vae_parameters=sum(p.numel() for p in self.vae.parameters()),
            vocoder_parameters=sum(p.numel() for p in self.vocoder.parameters()),
        )  # fmt: skip

    def encode(
        self, log_mel: ArrayLike, sample: bool = False, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Encode ``[T, 64]`` to ``[8, ceil(T/4), 16]``; see :mod:`vaerecon.models.autoencoder`.

        Warns once per process if the mel has a fault (:func:`vaerecon.diagnose_mel`).
        """
        latent = autoencoder.encode(
            self.vae, log_mel, sample, generator, chunk_seconds=self.chunk_seconds
        )
        warn_once(as_float32(log_mel, "log-mel"), self.mel_config)
        return latent

    def decode(self, latent: ArrayLike, n_frames: int | None = None) -> torch.Tensor:
        """Decode a latent to ``[T, 64]``; see :func:`vaerecon.models.autoencoder.decode`."""
        return autoencoder.decode(self.vae, latent, n_frames, chunk_seconds=self.chunk_seconds)

    def _models(self) -> Models:
        """Return the models and settings of this pipeline that the stages use."""
        return Models(
            vae=self.vae,
            needs={
                "vocoder": lambda: self.vocoder,
                "lag": lambda: self.lag,
                "network": self._fast_network,
                "config": lambda: self.mel_config,
            },
            config=self.mel_config,
            device=self._execution_device,
            dtype=self.dtype,
            chunk_seconds=self.chunk_seconds,
            facts=self.describe(),
            warm=self.warm,
        )

    @torch.no_grad()
    @without_autocast
    def synthesize(
        self,
        log_mel: ArrayLike,
        method: str = "vocoder",
        n_samples: int | None = None,
        generator: torch.Generator | None = None,
        original: ArrayLike | None = None,
        contrast: float = 1.0,
    ) -> torch.Tensor:
        """Synthesise samples from a log-mel by one method.

        Parameters
        ----------
        log_mel
            ``[T, 64]`` or ``[B, T, 64]``, nepers, training framing.
        method
            A name in :data:`vaerecon.methods.METHODS`.
        n_samples
            Length of the result; by default ``160 T``, or that of ``original`` if it is shorter.
        generator
            Source of randomness; by default one seeded with 0.
        original
            ``[N]`` or ``[B, N]`` normalised samples, needed by ceilings and references only.
        contrast
            Factor by which the mel is stretched about its mean (notebook ``10_vocoder_input``).

        Returns
        -------
        torch.Tensor
            ``[N]`` or ``[B, N]``, float32, at the front-end's level (peak about 0.5).

        Raises
        ------
        ValueError
            For an unknown method, another layout, a missing ``original``, or a result that is not
            finite.
        """
        models = self._models()
        return synthesize(models, log_mel, method, n_samples, generator, original, contrast)

    @torch.no_grad()
    @without_autocast
    def __call__(
        self,
        clip: Clip | ArrayLike | str | os.PathLike[str],
        methods: str | Iterable[str] = DEFAULT_METHODS,
        *,
        without_vae: bool = True,
        sample: bool = False,
        seed: int = 0,
        exclude_metrics: Iterable[str] = (),
    ) -> Reconstruction:
        """Send a clip through the whole pipeline and measure the reconstructions.

        Parameters
        ----------
        clip
            A :class:`vaerecon.Clip`, or samples ``[N]`` at 16 kHz; also a file name, an item of
            an audio dataset, or ``(samples, rate)``: see :func:`vaerecon.audio.samples.as_clip`.
        methods
            Names, ``"a,b"`` or ``"all"``. Silence is always measured too.
        without_vae
            Also synthesize from the original mel, to separate the VAE's error from the method's.
        sample
            Draw from the posterior instead of taking its mode.
        seed
            Seed of every random draw.
        exclude_metrics
            Names of metrics to leave out, for example ``["visqol"]``, the slowest.

        Raises
        ------
        ValueError
            For unknown methods or metrics, or if a stage returns NaN (the message names it).
        """
        clip = as_clip(clip, self.mel_config.sample_rate)
        request = stages.Request.of(methods, without_vae, sample, seed, exclude_metrics)
        samples = MemoryTrack(as_samples(clip.samples))
        result = stages.reconstruct(
            self._models(), ClipFacts.of(clip), samples, MemoryStore(), request, clip.name,
            self.progress_bar,
        )  # fmt: skip
        self.maybe_free_model_hooks()  # ends model offloading, if that is on
        return result

    @torch.no_grad()
    @without_autocast
    def reconstruct_file(
        self,
        path: str | os.PathLike[str],
        output_dir: str | os.PathLike[str],
        methods: str | Iterable[str] = DEFAULT_METHODS,
        *,
        max_length: float | None = None,
        offset: float = 0.0,
        without_vae: bool = True,
        sample: bool = False,
        seed: int = 0,
        exclude_metrics: Iterable[str] = (),
        keep_without_vae: bool = False,
    ) -> Reconstruction:
        """Send a sound file through the whole pipeline and write the sounds and the numbers.

        Does the same as ``pipe(load_audio(path)).save(output_dir)`` piece by piece, so that memory
        does not grow with the length of the file.

        Parameters
        ----------
        path, max_length, offset
            As in :func:`vaerecon.load_audio`.
        output_dir
            As in :meth:`vaerecon.Reconstruction.save`.
        methods, without_vae, sample, seed, exclude_metrics
            As in :meth:`__call__`.
        keep_without_vae
            Also write the sounds synthesised without the VAE.

        Returns
        -------
        Reconstruction
            All numbers (``table``, ``analysis``) and the written ``files``. It has no arrays:
            ``audio``, ``mel`` and similar attributes raise a ``ValueError``.

        Raises
        ------
        ValueError, OSError
            As :func:`vaerecon.load_audio` and :meth:`__call__`; also if the folder cannot be
            written. Then, as after an interrupt, no file is left and an earlier result is kept.
        """
        request = stages.Request.of(
            methods, without_vae, sample, seed, exclude_metrics, keep_without_vae
        )
        check_path(path)
        check_stem(Path(path).stem)  # the files are named after it
        output_dir = Path(output_dir)
        with result_folder(output_dir, text_to_name(Path(path).stem)) as folder:
            scratch = folder.parent / "tracks"
            scratch.mkdir()
            with FolderStore(folder, scratch) as store:
                with stream_audio(path, max_length, offset, self.mel_config.sample_rate) as sound:
                    clip, samples = stages.read_samples(sound, store)
                stem = text_to_name(clip.name)
                result = stages.reconstruct(
                    self._models(), clip, samples, store, request, stem, self.progress_bar
                )
                result.write_numbers(folder, clip.name)
            names = sorted(p.name for p in folder.iterdir())
        self.maybe_free_model_hooks()  # ends model offloading, if that is on
        return result.without_arrays(output_dir / name for name in names)
