"""Train an ``AutoencoderKL`` in AudioLDM2's layout on log-mels.

The loss is the L1 distance in standard deviations of the log-mel, plus ``kl_weight`` times the KL
divergence per latent value, plus a little for fine detail whose energy is off: an L1 alone blurs.
The model takes and returns raw log-mel, as AudioLDM2's does: the standardisation is folded into the
first and last convolution before training starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from vaerecon.models.autoencoder import kl_nats
from vaerecon.training.discriminators import PatchDiscriminator
from vaerecon.training.losses import detail_energy_loss
from vaerecon.training.parts.part import Batch, Data, Part, Sample
from vaerecon.training.settings import LoopConfig
from vaerecon.training.weights import load_part


@dataclass(frozen=True)
class VaeSize:
    """The sizes in which the tiny VAE differs from AudioLDM2's."""

    block_out_channels: tuple[int, ...] = (16, 32, 64)  # AudioLDM2: (128, 256, 512)
    layers_per_block: int = 1  # AudioLDM2: 2
    norm_num_groups: int = 8  # AudioLDM2: 32


@dataclass(frozen=True)
class VaeObjective:
    """What is minimised."""

    frames: int = 128  # mel frames in a crop (1.28 s)
    kl_weight: float = 1.3e-3  # per latent value, against the L1 in standard deviations
    detail_weight: float = (
        0.02  # of the difference in fine detail's energy, which an L1 alone blurs
    )


def build_vae(size: VaeSize, mean: float, deviation: float) -> AutoencoderKL:
    """A fresh VAE whose first and last convolution contain the standardisation."""
    levels = len(size.block_out_channels)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=8,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=size.block_out_channels,
        layers_per_block=size.layers_per_block,
        norm_num_groups=size.norm_num_groups,
        sample_size=1024,
    )
    with torch.no_grad():
        first, last = vae.encoder.conv_in, vae.decoder.conv_out
        first.weight /= deviation
        first.bias -= mean * first.weight.sum(dim=(1, 2, 3))
        last.weight *= deviation
        last.bias.mul_(deviation).add_(mean)
    return vae


@torch.no_grad()
def scaling_factor(vae: AutoencoderKL, mels: Iterable[torch.Tensor]) -> float:
    """1 / the standard deviation of all latent values, by which a UNet's latents are multiplied.

    Parameters
    ----------
    vae
        Its encoder is asked for the mean of the posterior, as
        :func:`vaerecon.models.autoencoder.encode`.
    mels
        Batches ``[B, T, 64]``.

    Returns
    -------
    float
        With 4 digits, because the rest is chance; 1 for latents that do not vary or are not finite.

    References
    ----------
    .. [1] R. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR
       2022, appendix G.
    """
    # [B, T, 64] -> [B, 1, T, 64]: a picture with one channel
    latents = [vae.encode(mel[:, None]).latent_dist.mode().flatten() for mel in mels]
    deviation = float(torch.cat(latents).std())
    return float(f"{1 / deviation:.4g}") if 0 < deviation < math.inf else 1.0


class VaeNetwork(nn.Module):
    """Mel to posterior to mel. A frozen encoder is run without keeping what gradients need."""

    def __init__(self, vae: AutoencoderKL, freeze_encoder: bool):
        super().__init__()
        self.vae, self.freeze_encoder = vae, freeze_encoder
        if freeze_encoder:
            for module in (vae.encoder, vae.quant_conv):
                module.requires_grad_(False)

    def forward(self, batch: Batch) -> Batch:
        # [B, T, 64] -> [B, 1, T, 64]: a picture with one channel
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            posterior = self.vae.encode(batch["mel"][:, None]).latent_dist
        latent = posterior.sample() if torch.is_grad_enabled() else posterior.mode()
        mel = self.vae.decode(latent).sample[:, 0]
        return {"mel": mel, "mean": posterior.mean, "logvar": posterior.logvar}


class VaePart(Part):
    """The VAE in training.

    Parameters
    ----------
    data, config, objective
        As for every :class:`vaerecon.training.parts.part.Part`.
    size
        Of a fresh model.
    init
        Start from these weights (:func:`vaerecon.training.weights.load_part`) instead of fresh
        ones.
    freeze_encoder
        Train the decoder only, so that latents keep their meaning: what a diffusion model has
        learned to make stays valid. ``None``: yes if ``init`` is given, unless it is ``"tiny"``.
    """

    name = "vae"

    def __init__(
        self,
        data: Data,
        config: LoopConfig,
        objective: VaeObjective = VaeObjective(),
        size: VaeSize = VaeSize(),
        init: str | Path | None = None,
        freeze_encoder: bool | None = None,
    ):
        super().__init__(data, config, objective)
        self.model = (
            build_vae(size, data.mean, data.deviation) if init is None else load_part("vae", init)
        )
        if freeze_encoder is None:
            freeze_encoder = init is not None and str(init) != "tiny"
        self.network = VaeNetwork(self.model, freeze_encoder)

    def losses(self, batch: Batch, made: Batch) -> dict[str, torch.Tensor]:
        objective = self.objective
        l1 = F.l1_loss(made["mel"], batch["mel"])
        kl = kl_nats(made["mean"], made["logvar"]).mean()
        detail = detail_energy_loss(made["mel"][:, None], batch["mel"][:, None])
        loss = l1 / self.data.deviation + objective.kl_weight * kl
        return {"loss": loss + objective.detail_weight * detail, "mae": l1, "kl": kl,
                "detail": detail}  # fmt: skip

    def discriminator(self) -> nn.Module:
        return PatchDiscriminator(self.data.mean, self.data.deviation)

    def real_and_fake(self, batch: Batch, made: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch["mel"][:, None], made["mel"][:, None]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        mae = kl = 0.0
        for batch in self.chunks():
            made = self.network(batch)
            mae += float((made["mel"] - batch["mel"]).abs().mean(dim=(1, 2)).sum())
            kl += float(kl_nats(made["mean"], made["logvar"]).sum())
        count = len(self.held_out["mel"])
        return {"validation_mae": mae / count, "validation_kl": kl / count}

    def finish(self) -> dict[str, Any]:
        """A trained encoder gets its own scaling factor; a frozen one keeps what it had."""
        trained = not self.network.freeze_encoder
        if trained:
            factor = scaling_factor(self.model, [batch["mel"] for batch in self.chunks()])
            self.model.register_to_config(scaling_factor=factor)
        return {"encoder_trained": trained, "scaling_factor": self.model.config.scaling_factor}

    @torch.no_grad()
    def samples(self, count: int) -> list[Sample]:
        """Sound by the kit's Griffin-Lim, which adds the same to each checkpoint."""
        from vaerecon.methods import get_method

        batch = {name: value[:count] for name, value in self.held_out.items()}
        made = self.network(batch)["mel"].float()
        generator = torch.Generator().manual_seed(0)
        synthesize = get_method("griffinlim").function
        sounds = synthesize(made.cpu(), batch["samples"].shape[1], generator)
        return [
            Sample(*crop) for crop in zip(batch["mel"], made, batch["samples"], sounds, strict=True)
        ]
