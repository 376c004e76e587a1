"""Train an ``AutoencoderKL`` in AudioLDM2's layout on log-mels.

The loss is the L1 distance in standard deviations of the log-mel plus ``kl_weight`` times the KL
divergence per latent value. The model takes and returns raw log-mel, as AudioLDM2's does: the
standardisation is folded into the first and last convolution before training starts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from vaerecon.autoencoder import kl_nats
from vaerecon.mel import AUDIOLDM_MEL, log_mel
from vaerecon.training.corpus import NO_AUGMENTATION, Corpus
from vaerecon.training.loop import LoopConfig, TrainingLoop

logger = logging.getLogger(__name__)


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
    kl_weight: float = 1e-3  # per latent value, against the L1 in standard deviations


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


def log_mel_statistics(corpus: Corpus, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over all values of 256 training crops, in nepers."""
    mels = log_mel(corpus.batch(256, 16000, np.random.default_rng(seed)), normalize=False)
    return float(mels.mean()), float(mels.std())


def train_vae(
    data: list[Path],
    output: Path,
    loop_config: LoopConfig,
    size: VaeSize = VaeSize(),
    objective: VaeObjective = VaeObjective(),
    resume: bool = False,
) -> None:
    """Train, and write ``output/vae`` (config and safetensors).

    Parameters
    ----------
    data
        Folders of audio; about 6 % of the files are held out for validation.
    output
        Receives ``vae/``, and ``vae_run/`` with the checkpoint and the curve.
    resume
        Go on from ``output/vae_run/checkpoint.pt``.
    """
    corpus = Corpus(data)
    validation = Corpus(data, part="validation")
    torch.manual_seed(loop_config.seed)
    mean, deviation = log_mel_statistics(corpus)
    logger.info("log-mel mean %.3f, deviation %.3f nepers", mean, deviation)
    vae = build_vae(size, mean, deviation)
    n_samples = objective.frames * AUDIOLDM_MEL.hop_length

    def mels(samples: torch.Tensor) -> torch.Tensor:
        # [B, T, 64] -> [B, 1, T, 64]; the clone leaves inference mode, so that gradients can flow
        return log_mel(samples, normalize=False).clone()[:, None]

    def losses(model: AutoencoderKL, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        x = mels(corpus.batch(loop_config.batch_size, n_samples, rng))
        posterior = model.encode(x).latent_dist
        returned = model.decode(posterior.sample()).sample
        l1 = F.l1_loss(returned, x)
        kl = kl_nats(posterior.mean, posterior.logvar).mean()
        return {"loss": l1 / deviation + objective.kl_weight * kl, "mae": l1, "kl": kl}

    held_out = mels(validation.batch(32, 2 * n_samples, np.random.default_rng(1), NO_AUGMENTATION))

    @torch.no_grad()
    def validate() -> dict[str, float]:
        posterior = vae.encode(held_out).latent_dist
        mae = F.l1_loss(vae.decode(posterior.mode()).sample, held_out)
        return {
            "validation_mae": float(mae),
            "validation_kl": float(kl_nats(posterior.mean, posterior.logvar).mean()),
        }

    loop = TrainingLoop(vae, losses, loop_config, Path(output) / "vae_run")
    if resume:
        loop.resume()
    loop.run(validate)
    loop.load_average()
    vae.save_pretrained(Path(output) / "vae")
