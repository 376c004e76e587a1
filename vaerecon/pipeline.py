"""The whole flow as one object: audio, log-mel, latent, log-mel, audio, and the numbers.

>>> pipe = ReconstructionPipeline.from_pretrained("tiny")
>>> result = pipe(load_audio("song.wav"), methods=["vocoder", "griffinlim"])
>>> result.table
>>> result.save("my_results")

Level: the front-end removes the mean and scales the peak to 0.5; what comes out is scaled back to
the clip's level. Time: N samples in, N out, aligned. Randomness: every synthesis starts from a
fresh generator with the same seed, so results do not depend on the order of the methods.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from vaerecon import autoencoder, checkpoints, metrics
from vaerecon.audio import Clip
from vaerecon.mel import (
    AUDIOLDM_MEL,
    ArrayLike,
    MelConfig,
    as_samples,
    check_log_mel,
    check_model_configs,
    log_mel,
    normalize_level,
)
from vaerecon.methods import get_method, select_methods
from vaerecon.result import MethodResult, ModelFacts, Reconstruction
from vaerecon.vocoder import measure_lag

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan

DEFAULT_METHODS = ("vocoder", "griffinlim")


class ReconstructionPipeline(DiffusionPipeline):
    """Sound through AudioLDM2's VAE and back.

    A diffusers pipeline with the components ``vae`` and ``vocoder``: ``.to()``,
    ``save_pretrained`` and progress bars are the library's.

    Parameters
    ----------
    vae
        ``AutoencoderKL`` with one channel in and out.
    vocoder
        ``SpeechT5HifiGan`` with 64 mel bins at 16 kHz.

    Raises
    ------
    ValueError
        If the two do not fit the front-end, with the reason.
    """

    model_cpu_offload_seq = "vae->vocoder"

    def __init__(self, vae: AutoencoderKL, vocoder: SpeechT5HifiGan):
        super().__init__()
        check_model_configs(vae.config, vocoder.config)
        self.register_modules(vae=vae, vocoder=vocoder)
        self.variant, self.source, self.revision = "custom", "memory", None
        self._lag: int | None = None

    @classmethod
    def from_pretrained(cls, source: str = "tiny", **options: Any) -> ReconstructionPipeline:
        """Load ``vae/`` and ``vocoder/``, and nothing else, of a checkpoint.

        Parameters
        ----------
        source
            ``"tiny"`` (bundled), ``"music"``, ``"speech"``, ``"large"``, a folder, or a hub id.
        **options
            Those of :func:`vaerecon.checkpoints.load`: ``revision``, ``device``, ``dtype``,
            ``cache_dir``, ``local_files_only``.

        Raises
        ------
        ValueError, OSError
            Those of :func:`vaerecon.checkpoints.load`.
        """
        loaded = checkpoints.load(source, **options)
        pipe = cls(vae=loaded.vae, vocoder=loaded.vocoder)
        pipe.variant, pipe.source, pipe.revision = loaded.variant, loaded.source, loaded.revision
        return pipe

    @property
    def mel_config(self) -> MelConfig:
        """The front-end that the checkpoint was checked against."""
        return AUDIOLDM_MEL

    @property
    def lag(self) -> int:
        """Samples by which the vocoder's output is late, measured on the model, not on a clip."""
        if self._lag is None:
            self._lag = measure_lag(self.vocoder)
        return self._lag

    def describe(self) -> ModelFacts:
        """Where the weights came from, where and in what they run, and how many they are."""
        return ModelFacts(
            variant=self.variant,
            source=self.source,
            revision=self.revision,
            device=str(self.device),
            dtype=str(self.vocoder.dtype).removeprefix("torch."),  # a VAE may insist on float32
            vae_parameters=sum(p.numel() for p in self.vae.parameters()),
            vocoder_parameters=sum(p.numel() for p in self.vocoder.parameters()),
        )

    def encode(
        self,
        log_mel: ArrayLike,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """``[T, 64]`` to latent ``[8, ceil(T/4), 16]``; see :func:`vaerecon.autoencoder.encode`."""
        return autoencoder.encode(self.vae, log_mel, sample=sample, generator=generator)

    def decode(self, latent: ArrayLike, n_frames: int | None = None) -> torch.Tensor:
        """Latent to ``[T, 64]``; see :func:`vaerecon.autoencoder.decode`."""
        return autoencoder.decode(self.vae, latent, n_frames=n_frames)

    @torch.inference_mode()
    def synthesize(
        self,
        log_mel: ArrayLike,
        method: str = "vocoder",
        n_samples: int | None = None,
        generator: torch.Generator | None = None,
        original: ArrayLike | None = None,
    ) -> torch.Tensor:
        """Log-mel to samples by one method.

        Parameters
        ----------
        log_mel
            ``[T, 64]`` or ``[B, T, 64]``, nepers, training framing.
        method
            A name in :data:`vaerecon.methods.METHODS`.
        n_samples
            Length of the result; ``160 T`` by default.
        generator
            Source of randomness; one seeded with 0 by default.
        original
            ``[N]`` or ``[B, N]`` normalised samples, for the ceilings only.

        Returns
        -------
        torch.Tensor
            ``[N]`` or ``[B, N]``, float32, at the front-end's level (peak about 0.5).

        Raises
        ------
        ValueError
            For an unknown method, another layout, a ceiling without ``original``, or a result
            that is not finite.
        """
        chosen = get_method(method)
        mel = check_log_mel(log_mel, self.mel_config).to(self.device)
        if n_samples is None:
            n_samples = mel.shape[-2] * self.mel_config.hop_length
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        needs: dict[str, Any] = {}
        if "vocoder" in chosen.needs:
            needs |= {"vocoder": self.vocoder, "lag": self.lag}
        if "original" in chosen.needs:
            if original is None:
                raise ValueError(
                    f"original: got None, but {method!r} is a ceiling that needs the original's "
                    "normalised samples; pass original=vaerecon.mel.normalize_level(samples)[0]"
                )
            needs["original"] = as_samples(original).to(self.device)
        samples = chosen.function(mel, n_samples, generator, **needs)
        if not torch.isfinite(samples).all():
            raise ValueError(
                f"{method}: got NaN or infinite samples from a finite log-mel; "
                f"the model ran in {self.dtype}: load it with dtype='float32'"
            )
        return samples

    @torch.inference_mode()
    def __call__(
        self,
        clip: Clip | ArrayLike,
        methods: str | Iterable[str] = DEFAULT_METHODS,
        *,
        without_vae: bool = True,
        sample: bool = False,
        seed: int = 0,
        exclude_metrics: Iterable[str] = (),
    ) -> Reconstruction:
        """Send a clip through the whole flow and measure what comes back.

        Parameters
        ----------
        clip
            A :class:`vaerecon.Clip`, or samples ``[N]`` at 16 kHz.
        methods
            Names, ``"a,b"`` or ``"all"``. Silence is always measured along with them.
        without_vae
            Also synthesize from the original mel, which separates the VAE's loss from the
            method's.
        sample
            Draw from the posterior instead of taking its mode.
        seed
            Seed of every random draw.
        exclude_metrics
            Names of metrics to leave out, for example ``["visqol"]``, the slowest.

        Returns
        -------
        Reconstruction

        Raises
        ------
        ValueError
            For unknown methods or metrics, or a stage that gives NaN (the stage is named).
        """
        if not isinstance(clip, Clip):
            clip = Clip(as_samples(clip).cpu().numpy(), self.mel_config.sample_rate, "clip")
        names = select_methods(methods)
        normalized, level = normalize_level(clip.samples)
        mel = log_mel(normalized.to(self.device), self.mel_config, normalize=False)
        latent = self.encode(mel, sample, torch.Generator().manual_seed(seed))
        decoded = self.decode(latent, n_frames=mel.shape[0])

        reference = level.restore(normalized)
        sources = {True: decoded} | ({False: mel} if without_vae else {})
        results: dict[bool, dict[str, MethodResult]] = {True: {}, False: {}}
        names = list(dict.fromkeys([*names, "silence"]))
        self._warm_up(names, mel, normalized)
        jobs = [(through_vae, name) for through_vae in sources for name in names]
        for through_vae, name in self._with_progress(jobs):
            if not through_vae and not get_method(name).uses_mel:
                results[False][name] = results[True][name]  # the VAE cannot change it
                continue
            started = time.perf_counter()
            samples = self.synthesize(
                sources[through_vae],
                name,
                n_samples=len(normalized),
                generator=torch.Generator().manual_seed(seed),
                original=normalized,
            ).cpu()
            seconds = time.perf_counter() - started
            samples = level.restore(samples)
            results[through_vae][name] = MethodResult(
                samples=samples,
                seconds=seconds,
                lag=self.lag if "vocoder" in get_method(name).needs else 0,
                gain=1.0 / float(level.gain),
                scores=metrics.evaluate(
                    reference, samples, self.mel_config.sample_rate, exclude=exclude_metrics
                ),
            )
        return Reconstruction(
            clip=clip,
            reference=reference,
            mel=mel.cpu(),
            latent=latent.cpu(),
            mel_decoded=decoded.cpu(),
            methods=results[True],
            without_vae=results[False],
            model=self.describe(),
            seed=seed,
        )

    def _warm_up(self, names: list[str], mel: torch.Tensor, original: torch.Tensor) -> None:
        """Run each method on a few frames: what only a first call costs is not a method's time."""
        mel = mel[:16]
        original = original[: len(mel) * self.mel_config.hop_length]
        for name in names:
            self.synthesize(mel, name, n_samples=len(original), original=original)

    def _with_progress(self, jobs: list[tuple[bool, str]]) -> Iterator[tuple[bool, str]]:
        with self.progress_bar(total=len(jobs)) as bar:
            for through_vae, name in jobs:
                bar.set_description(name if through_vae else f"{name}, without VAE")
                yield through_vae, name
                bar.update()
