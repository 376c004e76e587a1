"""Losses: spectra at several resolutions, log-mels, and the adversarial losses.

References
----------
.. [1] R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020: the multi-resolution STFT loss.
.. [2] X. Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017.
.. [3] K. Kumar et al., "MelGAN", NeurIPS 2019: feature matching.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import magnitude_to_log_mel, stft_frames

# n_fft, hop in samples at 16 kHz: 16, 32, 64 and 128 ms
RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))
# n_fft, hop, mel bins: attacks show in short windows, single partials of low notes in long ones
MEL_SCALES = ((256, 64, 32), (2048, 512, 96))


def stft_magnitude(samples: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """``[B, N] -> [B, F, T]`` magnitudes; 1e-7 under the root keeps the gradient finite."""
    window = torch.hann_window(n_fft, device=samples.device)
    spectrum = torch.stft(samples, n_fft, hop, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-7).sqrt()


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    return sum(values, start=torch.zeros(())) / len(values)


def multi_resolution_stft_loss(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Spectral convergence plus log-magnitude L1, mean over resolutions [1]_. ``[B, N]`` each."""
    total = estimate.new_zeros(())
    for n_fft, hop in RESOLUTIONS:
        got, want = stft_magnitude(estimate, n_fft, hop), stft_magnitude(reference, n_fft, hop)
        # per clip, so that quiet crops count as much as loud ones
        error = torch.linalg.vector_norm(got - want, dim=(1, 2))
        convergence = error / torch.linalg.vector_norm(want, dim=(1, 2)).clamp_min(1e-3)
        total = total + convergence.mean() + F.l1_loss(got.log(), want.log())
    return total / len(RESOLUTIONS)


def log_mel_loss(
    estimate: torch.Tensor, log_mel: torch.Tensor, config=AUDIOLDM_MEL
) -> torch.Tensor:
    """Mean absolute log-mel difference of ``estimate`` ``[B, N]`` to ``log_mel`` ``[B, T, 64]``."""
    spectrum = stft_frames(estimate, config)
    # 1e-9 under the root keeps the gradient finite at zero
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    return F.l1_loss(magnitude_to_log_mel(magnitude, config), log_mel)


def multi_scale_log_mel_loss(
    estimate: torch.Tensor, reference: torch.Tensor, scales=MEL_SCALES
) -> torch.Tensor:
    """Mean absolute log-mel difference with shorter and longer windows. ``[B, N]`` each, nepers."""
    losses = []
    for n_fft, hop, bins in scales:
        config = replace(AUDIOLDM_MEL, n_fft=n_fft, win_length=n_fft, hop_length=hop, n_mels=bins)
        want = magnitude_to_log_mel(stft_frames(reference, config).abs(), config)
        losses.append(log_mel_loss(estimate, want, config))
    return _mean(losses)


def log_magnitude_loss(log_estimate: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of log magnitudes, nepers; ``[B, T, F]`` each.

    Below 1e-5 the magnitude counts as 1e-5: there is nothing to hear.
    """
    return F.l1_loss(log_estimate, magnitude.clamp_min(1e-5).log())


def root_magnitude_loss(log_estimate: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of root magnitudes, relative to the mean root of each clip."""
    root = magnitude.sqrt()
    error = ((log_estimate / 2).exp() - root).abs()
    return (error / (root.mean(dim=(1, 2), keepdim=True) + 1e-3)).mean()


def detail_energy_loss(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean absolute log ratio of the energy of fine detail; ``[B, 1, T, 64]`` nepers each.

    Detail is the difference to a 3 x 3 mean; its energy is compared over patches of 16 frames and
    8 bins. An L1 loss alone gives blurred mels, whose detail has too little energy.
    """

    def energy(x: torch.Tensor) -> torch.Tensor:
        detail = x - F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return F.avg_pool2d(detail.square(), (16, 8)) + 1e-3  # (0.03 nepers)^2: nothing to hear

    return (energy(estimate).log() - energy(reference).log()).abs().mean()


# feature maps by discriminator and layer; the last one is the logits
FeatureMaps = Sequence[Sequence[torch.Tensor]]


def discriminator_loss(real: FeatureMaps, fake: FeatureMaps) -> torch.Tensor:
    """Least-squares loss of a discriminator [2]_: real towards 1, generated towards 0."""
    total = real[0][-1].new_zeros(())
    for true, made in zip(real, fake, strict=True):
        total = total + (true[-1] - 1).square().mean() + made[-1].square().mean()
    return total / len(real)


def adversarial_loss(fake: FeatureMaps) -> torch.Tensor:
    """Least-squares loss of a generator [2]_: the logits of what it generated towards 1."""
    return _mean([(made[-1] - 1).square().mean() for made in fake])


def feature_matching_loss(real: FeatureMaps, fake: FeatureMaps) -> torch.Tensor:
    """Mean absolute difference of the discriminators' feature maps [3]_, without the logits.

    Relative to the mean magnitude of each map, because layers have different scales.
    """
    losses = []
    for true, made in zip(real, fake, strict=True):
        for want, got in zip(true[:-1], made[:-1], strict=True):
            want = want.detach()
            losses.append(F.l1_loss(got, want) / want.abs().mean().clamp_min(1e-4))
    return _mean(losses)
