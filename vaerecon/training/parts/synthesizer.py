"""What the parts that turn a mel into samples have in common: the vocoder and ``fast``."""

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
from vaerecon.training.parts.part import Batch, Data, Part, Sample
from vaerecon.training.settings import LoopConfig
from vaerecon.training.weights import load_part


class SynthesizerPart(Part):
    """A part whose network makes ``samples`` ``[B, N]`` of ``mel_in`` ``[B, T, 64]``.

    Parameters
    ----------
    data, config, objective
        As for every :class:`vaerecon.training.parts.part.Part`; ``objective.vae_share`` of the
        batches come with a mel that ``vae`` returned, since that is what a synthesizer gets in use.
        They are still compared with the true sound: it learns to mend what the VAE blurs.
    vae
        What :func:`vaerecon.training.weights.load_part` takes; ``None``: true mels only.
    """

    def __init__(self, data: Data, config: LoopConfig, objective: Any, vae: str | Path | None):
        super().__init__(data, config, objective)
        self.share = 0.0 if vae is None else objective.vae_share
        self.vae = load_part("vae", vae).requires_grad_(False) if self.share else None

    def to(self, device: torch.device) -> None:
        if self.vae is not None:
            self.vae.to(device)
        super().to(device)
        if self.vae is not None:
            self.held_out["mel_vae"] = self._returned(self.held_out["mel"])

    def draw(self, rng: np.random.Generator) -> Batch:
        through_vae = bool(rng.random() < self.share)
        return super().draw(rng) | {"through_vae": through_vae}

    def with_mel(self, batch: Batch) -> Batch:
        batch = super().with_mel(batch)
        through_vae = batch.get("through_vae", False)
        return batch | {"mel_in": self._returned(batch["mel"]) if through_vae else batch["mel"]}

    @torch.no_grad()
    def _returned(self, mel: torch.Tensor) -> torch.Tensor:
        """What the VAE makes of a mel ``[B, T, 64]``, a batch at a time, ``T`` a multiple of 4."""
        pieces = [
            # [B, T, 64] -> [B, 1, T, 64] and back
            self.vae.decode(self.vae.encode(piece[:, None]).latent_dist.mode()).sample[:, 0]
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

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Spectra and mels from true mels, and the mel's error from those of the VAE."""
        sums = {"validation_stft": 0.0, "validation_mae": 0.0}
        for batch in self.chunks():
            made = self.sound(batch)
            count = len(made)
            sums["validation_stft"] += count * float(
                multi_resolution_stft_loss(made, batch["samples"])
            )
            mel = log_mel(made, normalize=False)
            sums["validation_mae"] += count * float(F.l1_loss(mel, batch["mel"]))
            if "mel_vae" in batch:
                made = self.sound(batch | {"mel_in": batch["mel_vae"]})
                mel = log_mel(made, normalize=False)
                mae = count * float(F.l1_loss(mel, batch["mel"]))
                sums["validation_mae_vae"] = sums.get("validation_mae_vae", 0.0) + mae
        return {name: value / len(self.held_out["mel"]) for name, value in sums.items()}

    @torch.no_grad()
    def samples(self, count: int) -> list[Sample]:
        batch = {name: value[:count] for name, value in self.held_out.items()}
        made = self.sound(batch)
        mel = log_mel(made, normalize=False)
        return [
            Sample(*crop) for crop in zip(batch["mel"], mel, batch["samples"], made, strict=True)
        ]
