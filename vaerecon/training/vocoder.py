"""Train a ``SpeechT5HifiGan`` that turns AudioLDM2's log-mel into samples.

The tiny vocoder keeps the class and its contract (``[B, T, 64]`` in, 16 kHz out) and spends its
arithmetic where a sample costs least: two levels work at the mel's own 100 frames a second, and
only narrow ones at the higher rates. That is what makes a HiFi-GAN trainable on a CPU.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from vaerecon.mel import AUDIOLDM_MEL, log_mel
from vaerecon.training.corpus import NO_AUGMENTATION, Corpus
from vaerecon.training.loop import LoopConfig, TrainingLoop
from vaerecon.training.losses import fine_log_mel_loss, log_mel_loss, multi_resolution_stft_loss
from vaerecon.training.vae import log_mel_statistics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VocoderSize:
    """The sizes in which the tiny vocoder differs from AudioLDM2's.

    Channels halve at every level: 384 and 192 at 100 Hz, 96 at 400 Hz, 48 at 2 kHz, 24 at 16 kHz.
    """

    upsample_initial_channel: int = 768  # AudioLDM2: 1024
    upsample_rates: tuple[int, ...] = (1, 1, 4, 5, 8)  # AudioLDM2: (5, 4, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (1, 3, 8, 11, 16)  # AudioLDM2: (16, 16, 8, 4, 4)
    resblock_kernel_sizes: tuple[int, ...] = (3,)  # AudioLDM2: (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),)


@dataclass(frozen=True)
class VocoderObjective:
    """What is minimised: spectra at several resolutions, and the mel itself."""

    frames: int = 64  # mel frames in a crop (0.64 s)
    stft_weight: float = 1.0
    mel_weight: float = 1.0
    fine_mel_weight: float = 0.5


def build_vocoder(size: VocoderSize, mean: float, deviation: float) -> SpeechT5HifiGan:
    """A fresh vocoder, its first convolution standardising the log-mel.

    The class starts all weights at a deviation of 0.01, made for weight normalisation; here every
    layer starts so that its output has the deviation of its input, with residual branches small.
    """
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=AUDIOLDM_MEL.n_mels,
            sampling_rate=AUDIOLDM_MEL.sample_rate,
            upsample_initial_channel=size.upsample_initial_channel,
            upsample_rates=list(size.upsample_rates),
            upsample_kernel_sizes=list(size.upsample_kernel_sizes),
            resblock_kernel_sizes=list(size.resblock_kernel_sizes),
            resblock_dilation_sizes=[list(d) for d in size.resblock_dilation_sizes],
            normalize_before=False,
        )
    )
    with torch.no_grad():
        for layer in vocoder.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, a=0.1)
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.ConvTranspose1d):
                # each output sample sums kernel / stride taps of every input channel
                taps = layer.in_channels * layer.kernel_size[0] / layer.stride[0]
                nn.init.normal_(layer.weight, std=(2.0 / taps) ** 0.5)
                nn.init.zeros_(layer.bias)
        for block in vocoder.resblocks:
            for branch_end in block.convs2:
                branch_end.weight *= 0.3
        vocoder.conv_post.weight *= 0.05
        first = vocoder.conv_pre
        first.weight /= deviation
        first.bias -= mean * first.weight.sum(dim=(1, 2))
    return vocoder


def train_vocoder(
    data: list[Path],
    output: Path,
    loop_config: LoopConfig,
    size: VocoderSize = VocoderSize(),
    objective: VocoderObjective = VocoderObjective(),
    resume: bool = False,
) -> None:
    """Train on true mels, and write ``output/vocoder`` (config and safetensors).

    Parameters are those of :func:`vaerecon.training.vae.train_vae`; the checkpoint and the curve
    go to ``output/vocoder_run``.
    """
    corpus = Corpus(data)
    validation = Corpus(data, part="validation")
    torch.manual_seed(loop_config.seed)
    vocoder = build_vocoder(size, *log_mel_statistics(corpus))
    n_samples = objective.frames * AUDIOLDM_MEL.hop_length

    def losses(model: SpeechT5HifiGan, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        samples = corpus.batch(loop_config.batch_size, n_samples, rng)
        mel = log_mel(samples, normalize=False).clone()
        estimate = model(mel)[:, :n_samples]
        stft = multi_resolution_stft_loss(estimate, samples)
        mae = log_mel_loss(estimate, mel)
        fine = fine_log_mel_loss(estimate, samples)
        loss = (
            objective.stft_weight * stft
            + objective.mel_weight * mae
            + objective.fine_mel_weight * fine
        )
        return {"loss": loss, "stft": stft, "mae": mae, "fine": fine}

    held_out = validation.batch(32, 2 * n_samples, np.random.default_rng(1), NO_AUGMENTATION)
    held_out_mel = log_mel(held_out, normalize=False).clone()

    @torch.no_grad()
    def validate() -> dict[str, float]:
        estimate = vocoder(held_out_mel)[:, : held_out.shape[1]]
        stft = multi_resolution_stft_loss(estimate, held_out)
        mae = F.l1_loss(log_mel(estimate, normalize=False), held_out_mel)
        return {"validation_stft": float(stft), "validation_mae": float(mae)}

    loop = TrainingLoop(vocoder, losses, loop_config, Path(output) / "vocoder_run")
    if resume:
        loop.resume()
    loop.run(validate)
    loop.load_average()
    vocoder.save_pretrained(Path(output) / "vocoder")
