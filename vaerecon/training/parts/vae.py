"""Train an ``AutoencoderKL`` in AudioLDM2's layout on log-mels.

The loss is the L1 distance in standard deviations of the log-mel, plus ``kl_weight`` times the KL
divergence per latent value, plus a loss on the energy of fine detail. The model takes and returns
raw log-mel, as AudioLDM2's does: the first and last convolution contain the standardisation.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from vaerecon.models.autoencoder import kl_nats
from vaerecon.training.discriminators import PatchDiscriminator
from vaerecon.training.losses import detail_energy_loss
from vaerecon.training.parts.part import Batch, Part
from vaerecon.training.rate import Rate, disturb


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
    detail_weight: float = 0.02  # of the energy of fine detail, which an L1 loss alone blurs
    rate_weight: float = 0.0  # per latent value, of the bits that a codec needs


def build_vae(size: VaeSize, mean: float, deviation: float) -> AutoencoderKL:
    """A fresh VAE whose first and last convolution contain the standardisation."""
    levels = len(size.block_out_channels)
    vae: Any = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=8,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        sample_size=1024,
        **asdict(size),
    )
    with torch.no_grad():
        first, last = vae.encoder.conv_in, vae.decoder.conv_out
        first.weight /= deviation
        first.bias -= mean * first.weight.sum(dim=(1, 2, 3))
        last.weight *= deviation
        last.bias.mul_(deviation).add_(mean)
    return vae


class VaeNetwork(nn.Module):
    """Mel to posterior to mel. A frozen encoder keeps no activations for gradients.

    With ``rate`` the decoder is trained with the noise of rounding in place of the posterior's.
    """

    def __init__(self, vae: Any, freeze_encoder: bool, rate: Rate | None = None):
        super().__init__()
        self.vae, self.freeze_encoder, self.rate = vae, freeze_encoder, rate
        if freeze_encoder:
            for module in (vae.encoder, vae.quant_conv):
                module.requires_grad_(False)

    def forward(self, batch: Batch) -> Batch:
        # [B, T, 64] -> [B, 1, T, 64]: a picture with one channel
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            posterior = self.vae.encode(batch["mel"][:, None]).latent_dist
        if not torch.is_grad_enabled():
            latent = posterior.mode()
        elif self.rate is None:
            latent = posterior.sample()
        else:
            latent = disturb(posterior.mean, posterior.logvar)
        mel = self.vae.decode(latent).sample[:, 0]
        return {"mel": mel, "mean": posterior.mean, "logvar": posterior.logvar}


class VaePart(Part):
    """The VAE in training.

    With ``freeze_encoder`` only the decoder is trained, so that latents keep their meaning and a
    diffusion model's output stays valid; None: only if ``init`` is given and is not ``"tiny"``.
    """

    name = "vae"
    network: VaeNetwork

    def __init__(self, *given: Any, freeze_encoder: bool | None = None, **model: Any):
        super().__init__(*given, **model)
        if freeze_encoder is None:
            freeze_encoder = self.init is not None and str(self.init) != "tiny"
        weight = self.objective.rate_weight
        if weight > 0 and freeze_encoder:
            raise ValueError(
                f"rate_weight: got {weight} for an encoder that is frozen: its rate cannot change; "
                "train it too: --train-encoder (freeze_encoder=False)"
            )
        if weight > 0 and self.objective.frames < 8:
            raise ValueError(
                f"rate_weight: got crops of {self.objective.frames} mel frames, expected at least "
                "8: each latent frame (4 mel frames) is predicted from the one before"
            )
        self.network = VaeNetwork(self.model, freeze_encoder, Rate() if weight > 0 else None)

    def fresh(self, size: VaeSize | None) -> Any:
        return build_vae(size or VaeSize(), self.data.mean, self.data.deviation)

    def losses(self, batch: Batch, made: Batch) -> dict[str, torch.Tensor]:
        objective = self.objective
        l1 = F.l1_loss(made["mel"], batch["mel"])
        kl = kl_nats(made["mean"], made["logvar"]).mean()
        detail = detail_energy_loss(made["mel"][:, None], batch["mel"][:, None])
        loss = l1 / self.data.deviation + objective.kl_weight * kl
        loss = loss + objective.detail_weight * detail
        rate = self.rate(made)
        loss = loss + objective.rate_weight * rate.get("rate", 0)
        return {"loss": loss, "mae": l1, "kl": kl, "detail": detail} | rate

    def rate(self, made: Batch) -> dict[str, torch.Tensor]:
        """Bits per latent value, where they are weighted."""
        rate = self.network.rate
        return {} if rate is None else {"rate": rate(made["mean"], made["logvar"])}

    def discriminator(self) -> nn.Module:
        return PatchDiscriminator(self.data.mean, self.data.deviation)

    def real_and_fake(self, batch: Batch, made: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch["mel"][:, None], made["mel"][:, None]

    def measure(self, batch: Batch) -> dict[str, torch.Tensor]:
        made = self.network(batch)
        kl = kl_nats(made["mean"], made["logvar"]).mean()
        return {"mae": F.l1_loss(made["mel"], batch["mel"]), "kl": kl} | self.rate(made)

    @torch.no_grad()
    def finish(self) -> dict[str, Any]:
        """Measure the scaling factor of a trained encoder; a frozen one keeps its own.

        It is 1 / the standard deviation of all latent values (R. Rombach et al., "High-Resolution
        Image Synthesis with Latent Diffusion Models", CVPR 2022, appendix G), in 4 digits; 1 for
        latents that do not vary or are not finite.
        """
        trained = not self.network.freeze_encoder
        if trained:
            posteriors = [self.model.encode(b["mel"][:, None]).latent_dist for b in self.chunks()]
            deviation = float(torch.cat([p.mean.flatten() for p in posteriors]).std())
            factor = float(f"{1 / deviation:.4g}") if 0 < deviation < math.inf else 1.0
            self.model.register_to_config(scaling_factor=factor)
        return {"encoder_trained": trained, "scaling_factor": self.model.config.scaling_factor}

    def output(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Sound by the kit's Griffin-Lim, with one seed for all checkpoints."""
        from vaerecon.methods import get_method

        mel, generator = self.network(batch)["mel"].float(), torch.Generator().manual_seed(0)
        synthesize = get_method("griffinlim").function
        return mel, synthesize(mel.cpu(), batch["samples"].shape[1], generator)
