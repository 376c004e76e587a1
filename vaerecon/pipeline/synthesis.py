"""Synthesis by one method from a log-mel of any length, with the models that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vaerecon.audio.buffers import MemoryTrack
from vaerecon.audio.samples import ArrayLike, Reader, as_samples
from vaerecon.mel import damage
from vaerecon.mel.config import MelConfig
from vaerecon.mel.front_end import check_log_mel
from vaerecon.methods import Method, get_method
from vaerecon.pipeline.joins import sound_join
from vaerecon.utils.numbers import is_number
from vaerecon.utils.windows import CHUNK_SECONDS, WindowPlan, overlap_windows, plan_windows

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from vaerecon.pipeline.facts import ModelFacts

MOST_CONTRAST = 4  # above it only the loudest values remain


@dataclass(frozen=True)
class Models:
    """The parts of a pipeline that the stages use: models, settings, device and dtype."""

    vae: AutoencoderKL
    needs: Mapping[str, Callable[[], Any]]  # functions that return the arguments of methods
    config: MelConfig
    device: torch.device
    dtype: torch.dtype
    chunk_seconds: float  # s; longest window that a model computes at once
    facts: ModelFacts  # for the result
    warm: set[str]  # methods that have run with these models before

    @property
    def plan(self) -> WindowPlan:
        """Plan of windows of mel frames, of at most ``chunk_seconds``."""
        return plan_windows(self.chunk_seconds, self.config.frames_per_second)

    def arguments(self, method: Method) -> dict[str, Any]:
        """Return the keyword arguments of a method, except ``original``."""
        return {name: self.needs[name]() for name in method.needs if name != "original"}


def without_networks(config: MelConfig) -> Models:
    """Return settings for methods that need no network, for mels of any settings."""
    return Models(
        vae=None,  # type: ignore[arg-type]
        needs={"config": lambda: config},
        config=config,
        device=torch.device("cpu"),
        dtype=torch.float32,
        chunk_seconds=CHUNK_SECONDS,
        facts=None,  # type: ignore[arg-type]
        warm=set(),
    )


def synthesized(
    models: Models,
    method: Method,
    mel: Reader,
    n_frames: int,
    n_samples: int,
    generator: torch.Generator,
    original: Reader | None = None,
) -> Iterator[torch.Tensor]:
    """Synthesise a log-mel of any length by any registered method, piece by piece.

    ``mel`` reads frames ``[t, 64]`` or ``[B, t, 64]``, ``original`` normalised samples, for the
    oracles. Yields ``[n]`` or ``[B, n]`` on the models' device, ``n_samples`` in total.
    """
    hop = models.config.hop_length

    def window(start: int, stop: int) -> torch.Tensor:
        end = n_samples if stop == n_frames else stop * hop
        needs = models.arguments(method)
        if original is not None and "original" in method.needs:
            needs["original"] = original(start * hop, end).to(models.device)
        frames = mel(start, stop).to(models.device)
        n = end - start * hop
        samples = method.function(frames, n, generator, **needs)
        if not torch.is_tensor(samples) or samples.shape[-1] != n:
            got = list(samples.shape) if torch.is_tensor(samples) else type(samples).__name__
            raise ValueError(f"{method.name}: got {got}, expected a tensor of {n} samples")
        if not torch.isfinite(samples).all():
            cause = f"the model ran in {models.dtype}: load it with dtype='float32'"
            if models.dtype == torch.float32:
                cause = "is the method at fault, or a weight of it damaged?"
            raise ValueError(
                f"{method.name}: got NaN or infinite samples from a finite log-mel; {cause}"
            )
        return samples

    join = sound_join(models.plan, hop)
    return overlap_windows(n_frames, window, models.plan, unit=hop, join=join, stage=method.name)


def synthesize(
    models: Models,
    log_mel: ArrayLike,
    method: str,
    n_samples: int | None = None,
    generator: torch.Generator | None = None,
    original: ArrayLike | None = None,
    contrast: float = 1.0,
) -> torch.Tensor:
    """Synthesise a whole log-mel; see :meth:`vaerecon.ReconstructionPipeline.synthesize`."""
    chosen = get_method(method)
    mel = check_log_mel(log_mel, models.config).to(models.device)
    if not torch.isfinite(mel).all():  # otherwise the error would name the method
        raise ValueError(
            "log-mel: got NaN or infinite values, expected finite ones; clean what it was "
            "computed from"
        )
    if not (is_number(contrast) and 0 < contrast <= MOST_CONTRAST):
        raise ValueError(
            f"contrast: got {contrast!r}, expected a factor above 0, at most {MOST_CONTRAST}; "
            "1.1 raises the contrast by 10 %"
        )
    mel = damage.contrast(mel, contrast - 1)
    if "original" in chosen.needs and original is None:
        raise ValueError(
            f"original: got None, but {method!r} is a ceiling or reference that needs the "
            "original's normalised samples; "
            "pass original=vaerecon.audio.normalize_level(samples)[0]"
        )
    frames, read = MemoryTrack(mel, -2), None
    longest = len(frames) * models.config.hop_length
    if original is not None:
        sound = MemoryTrack(as_samples(original))
        read, longest = sound.read, min(longest, len(sound))  # the sound may end within a hop
    n_samples = longest if n_samples is None else n_samples
    generator = generator or torch.Generator().manual_seed(0)
    pieces = synthesized(models, chosen, frames.read, len(frames), n_samples, generator, read)
    return torch.cat(list(pieces), dim=-1)
