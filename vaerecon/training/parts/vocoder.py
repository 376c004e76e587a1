"""Train a ``SpeechT5HifiGan`` that turns AudioLDM2's log-mel into samples.

The tiny vocoder has the same class, input (``[B, T, 64]``) and output (16 kHz). Two of its levels
work at the mel's 100 frames a second, and the higher rates have few channels, so that a CPU can
train it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models.vocoder import measure_lag
from vaerecon.training import losses
from vaerecon.training.parts.part import Batch, SynthesizerPart


@dataclass(frozen=True)
class VocoderSize:
    """The sizes in which the tiny vocoder differs from AudioLDM2's.

    Channels halve at every level: 256 and 128 at 100 Hz, 64 at 400 Hz, 32 at 2 kHz, 16 at 16 kHz.
    """

    upsample_initial_channel: int = 512  # AudioLDM2: 1024
    upsample_rates: tuple[int, ...] = (1, 1, 4, 5, 8)  # AudioLDM2: (5, 4, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (1, 3, 8, 11, 16)  # AudioLDM2: (16, 16, 8, 4, 4)
    resblock_kernel_sizes: tuple[int, ...] = (3,)  # AudioLDM2: (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),)


@dataclass(frozen=True)
class VocoderObjective:
    """What is minimised: spectra at several resolutions, and mels."""

    frames: int = 64  # mel frames in a crop (0.64 s)
    stft_weight: float = 1.0
    mel_weight: float = 1.0  # of the front-end's own mel
    scales_weight: float = 0.5  # of mels with shorter and longer windows
    vae_share: float = 1 / 3  # of the batches, whose mels went through the VAE


def build_vocoder(size: VocoderSize, mean: float, deviation: float) -> SpeechT5HifiGan:
    """A fresh vocoder, its first convolution standardising the log-mel.

    The class initialises all weights with a deviation of 0.01, meant for weight normalisation; here
    each layer's output starts with the deviation of its input, with small residual branches.
    """
    mel: dict[str, Any] = {"model_in_dim": AUDIOLDM_MEL.n_mels, "normalize_before": False}
    mel["sampling_rate"] = AUDIOLDM_MEL.sample_rate
    vocoder: Any = SpeechT5HifiGan(SpeechT5HifiGanConfig(**mel, **asdict(size)))
    with torch.no_grad():
        for layer in vocoder.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, a=0.1)
            elif isinstance(layer, nn.ConvTranspose1d):
                # each output sample sums kernel / stride taps of every input channel
                taps = layer.in_channels * layer.kernel_size[0] / layer.stride[0]
                nn.init.normal_(layer.weight, std=(2.0 / taps) ** 0.5)
            else:
                continue
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for block in vocoder.resblocks:
            for branch_end in block.convs2:
                branch_end.weight *= 0.3
        vocoder.conv_post.weight *= 0.05
        first = vocoder.conv_pre
        first.weight /= deviation
        first.bias -= mean * first.weight.sum(dim=(1, 2))
    return vocoder


class VocoderNetwork(nn.Module):
    """Mel to samples, shifted by the lag that the model came with: training keeps that lag."""

    def __init__(self, vocoder: SpeechT5HifiGan, lag: int):
        super().__init__()
        self.vocoder, self.lag = vocoder, max(0, lag)

    def forward(self, batch: Batch) -> Batch:
        wanted = batch["samples"].shape[-1]
        samples = self.vocoder(batch["mel_in"])[:, self.lag : self.lag + wanted]
        return {"samples": F.pad(samples, (0, wanted - samples.shape[-1]))}


class VocoderPart(SynthesizerPart):
    """The vocoder in training."""

    name = "vocoder"

    def __init__(self, *given: Any, vae: str | Path | None = "tiny", **model: Any):
        super().__init__(*given, vae=vae, **model)
        lag = 0 if self.init is None else measure_lag(self.model)
        self.network = VocoderNetwork(self.model, lag)

    def fresh(self, size: VocoderSize | None) -> Any:
        return build_vocoder(size or VocoderSize(), self.data.mean, self.data.deviation)

    def losses(self, batch: Batch, made: Batch) -> dict[str, torch.Tensor]:
        objective, samples = self.objective, batch["samples"]
        stft = losses.multi_resolution_stft_loss(made["samples"], samples)
        mae = losses.log_mel_loss(made["samples"], batch["mel"])
        scales = losses.multi_scale_log_mel_loss(made["samples"], samples)
        loss = objective.stft_weight * stft + objective.mel_weight * mae
        loss = loss + objective.scales_weight * scales
        return {"loss": loss, "stft": stft, "mae": mae, "scales": scales}
