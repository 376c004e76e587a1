"""Train the magnitude network of :mod:`vaerecon.models.fast_vocoder`, method ``fast``.

The losses compare STFT magnitudes, not samples: the network predicts no phase.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import stft_frames
from vaerecon.models.fast_vocoder import MagnitudeNetwork, synthesize
from vaerecon.training.discriminators import PatchDiscriminator
from vaerecon.training.losses import log_magnitude_loss, root_magnitude_loss
from vaerecon.training.parts.part import Batch, SynthesizerPart


@dataclass(frozen=True)
class FastSize:
    """The sizes of the network."""

    channels: int = 256
    hidden: int = 768  # inside a block
    layers: int = 6
    kernel: int = 7  # frames


@dataclass(frozen=True)
class FastObjective:
    """What is minimised."""

    frames: int = 96  # mel frames in a crop (0.96 s)
    log_weight: float = 1.0  # of the logarithm's error: every bin counts alike, also faint ones
    root_weight: float = 1.0  # of the square root's error: the loud bins count
    vae_share: float = 1 / 3  # of the batches, whose mels went through the VAE, if there is one


class FastNetwork(nn.Module):
    """Mel to log magnitudes."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Batch:
        return {"log_magnitude": self.network(batch["mel_in"])}


class FastPart(SynthesizerPart):
    """The network of ``fast`` in training."""

    name = "fast"

    def __init__(self, *given: Any, **model: Any):
        super().__init__(*given, **model)
        self.network = FastNetwork(self.model)

    def fresh(self, size: FastSize | None) -> Any:
        statistics = {"mel_mean": self.data.mean, "mel_deviation": self.data.deviation}
        return MagnitudeNetwork(**asdict(size or FastSize()) | statistics)

    def with_mel(self, batch: Batch) -> Batch:
        magnitude = stft_frames(batch["samples"], AUDIOLDM_MEL).abs()
        return super().with_mel(batch) | {"magnitude": magnitude}

    def losses(self, batch: Batch, made: Batch) -> dict[str, torch.Tensor]:
        log = log_magnitude_loss(made["log_magnitude"], batch["magnitude"])
        root = root_magnitude_loss(made["log_magnitude"], batch["magnitude"])
        loss = self.objective.log_weight * log + self.objective.root_weight * root
        return {"loss": loss, "log": log, "root": root}

    def discriminator(self) -> nn.Module:
        return PatchDiscriminator(self.data.mean, self.data.deviation)

    def real_and_fake(self, batch: Batch, made: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        real = batch["magnitude"].clamp_min(1e-5).log()
        return real[:, None], made["log_magnitude"][:, None]

    def sound(self, batch: Batch) -> torch.Tensor:
        return synthesize(self.model, batch["mel_in"], batch["samples"].shape[-1])

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        losses = self.losses(batch, self.network(batch))
        return {name: losses[name] for name in ("log", "root")} | super().measure(batch)
