"""Base of the parts that turn a log-mel into samples: the vocoder and ``fast``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vaerecon.mel.front_end import log_mel
from vaerecon.training.discriminators import SoundDiscriminator
from vaerecon.training.losses import multi_resolution_stft_loss
from vaerecon.training.parts.part import Batch, Data, Part
from vaerecon.training.settings import LoopConfig
from vaerecon.training.weights import load_part


class SynthesizerPart(Part):
    """A part whose network makes ``samples`` ``[B, N]`` of ``mel_in`` ``[B, T, 64]``.

    A share of the batches, ``objective.vae_share``, has mels that went through ``vae`` (what
    :func:`vaerecon.training.weights.load_part` takes; None: no such batches), as in use. The loss
    still compares with the true sound, so the synthesizer learns to correct the VAE's blur.
    """

    def __init__(self, data: Data, config: LoopConfig, objective: Any, vae: str | Path | None):
        super().__init__(data, config, objective)
        self.share, self.vae = 0.0, None
        if vae is not None and objective.vae_share:
            self.share, self.vae = objective.vae_share, load_part("vae", vae).requires_grad_(False)

    def to(self, device: torch.device) -> None:
        super().to(device)
        if self.vae is not None:
            self.vae.to(device)
            self.held_out["mel_vae"] = self._through_vae(self.held_out["mel"])

    def draw(self, rng: np.random.Generator) -> Batch:
        through_vae = bool(rng.random() < self.share)
        return super().draw(rng) | {"through_vae": through_vae}

    def with_mel(self, batch: Batch) -> Batch:
        batch = super().with_mel(batch)
        through_vae = batch.get("through_vae", False)
        return batch | {"mel_in": self._through_vae(batch["mel"]) if through_vae else batch["mel"]}

    @torch.no_grad()
    def _through_vae(self, mel: torch.Tensor) -> torch.Tensor:
        """A mel ``[B, T, 64]`` encoded and decoded, a batch at a time; ``T`` a multiple of 4."""
        vae: Any = self.vae
        pieces = [
            # [B, T, 64] -> [B, 1, T, 64] and back
            vae.decode(vae.encode(piece[:, None]).latent_dist.mode()).sample[:, 0]
            for piece in mel.split(self.config.batch_size)
        ]
        return torch.cat(pieces)

    def discriminator(self) -> nn.Module:
        return SoundDiscriminator()

    def real_and_fake(self, batch: Batch, made: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch["samples"], made["samples"]

    def sound(self, batch: Batch) -> torch.Tensor:
        """Samples ``[B, N]`` from ``mel_in``, without a gradient."""
        return self.network(batch)["samples"].float()

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        """STFT loss and log-mel MAE of the sound from true mels, and the MAE from the VAE's."""
        mel, sound = self.output(batch)
        stft = multi_resolution_stft_loss(sound, batch["samples"])
        values = {"stft": stft, "mae": F.l1_loss(mel, batch["mel"])}
        if "mel_vae" in batch:
            mel, _ = self.output(batch | {"mel_in": batch["mel_vae"]})
            values["mae_vae"] = F.l1_loss(mel, batch["mel"])
        return values

    def output(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        sound = self.sound(batch)
        return log_mel(sound, normalize=False), sound
