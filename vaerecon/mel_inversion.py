"""Log-mel to STFT magnitudes: the energy of 64 mel bins spread over 513 frequencies again.

Expectation maximisation [1]_: each step multiplies every frequency by how far the mel bins that see
it are off, so magnitudes never become negative and detail between mel bins is kept.

Conventions as in :mod:`vaerecon.mel`; magnitudes are ``[T, 513]`` or ``[B, T, 513]``. Gradients
pass. Notebook: ``04_method_comparison``.

References
----------
.. [1] W. Richardson, "Bayesian-based iterative method of image restoration", JOSA 1972; L. Lucy,
   "An iterative technique for the rectification of observed distributions", Astron. J. 1974.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch

from vaerecon.mel import AUDIOLDM_MEL, ArrayLike, MelConfig, check_log_mel, mel_filters

SILENT = 1e-4  # nepers above the floor that still count as the floor: float32 rounding of log(1e-5)
TINY = 1e-15  # keeps 0 / 0 at 0; far below any magnitude that float32 samples give
BANDS = (0, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)  # mel bins are narrow at low frequencies
DETAIL = 0.9  # of the magnitude to start from, against the smooth one of the mel alone


def mel_to_magnitude(
    log_mel: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    n_iter: int = 10,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """STFT magnitudes whose mel is ``log_mel``, by expectation maximisation [1]_.

    The steps of :func:`hold_to_mel` from ``A = W'm / W'1``, where ``W`` are the mel filters.

    Parameters
    ----------
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers. A bin at the floor is silence: magnitude 0.
    n_iter
        Steps; ten leave 0.005 nepers of difference on music and speech.
    start
        ``[T, n_fft/2 + 1]`` or ``[B, T, ...]``: magnitudes to start from, which give the result its
        detail. A tenth of the default start goes in, so that no bin is stuck at zero.

    Returns
    -------
    torch.Tensor
        ``[T, n_fft/2 + 1]`` or ``[B, T, ...]``. Bins that no filter sees (0 Hz, 8 kHz) are 0.

    Raises
    ------
    ValueError
        For another layout.
    """
    mel = linear_mel(log_mel, config)
    magnitude = mel @ spread(config, str(mel.device))
    if start is not None:
        if start.shape != magnitude.shape:
            raise ValueError(
                f"start: got shape {list(start.shape)}, expected {list(magnitude.shape)}"
            )
        magnitude = torch.lerp(magnitude, start, DETAIL)
    return hold_to_mel(magnitude, log_mel, config, n_iter)


def hold_to_mel(
    magnitude: torch.Tensor,
    log_mel: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    n_iter: int = 2,
) -> torch.Tensor:
    """``magnitude`` after some steps of expectation maximisation towards ``log_mel`` [1]_.

    A step is ``A <- A * W'(m / (W A)) / W'1``: it changes each bin by what its mel bins are off,
    and keeps the detail between them.

    Parameters
    ----------
    magnitude
        ``[T, n_fft/2 + 1]`` or ``[B, T, ...]``.
    log_mel
        ``[T, 64]`` or ``[B, T, 64]``, nepers.

    Returns
    -------
    torch.Tensor
        Shape of ``magnitude``.
    """
    mel = linear_mel(log_mel, config)
    for _ in range(n_iter):
        magnitude = magnitude * correction(magnitude, mel, config)
    return magnitude


def linear_mel(log_mel: ArrayLike, config: MelConfig) -> torch.Tensor:
    """Nepers to magnitudes; the floor to 0."""
    x = check_log_mel(log_mel, config)
    return torch.where(x <= config.log_floor + SILENT, 0.0, x.exp())


@lru_cache(maxsize=16)
def spread(config: MelConfig, device: str) -> torch.Tensor:
    """``W' / W'1``, ``[n_mels, n_fft/2 + 1]``: each bin the weighted mean of its mel bins."""
    filters = mel_filters(config, device)
    with torch.inference_mode(False):  # cached, so it must serve training too
        # [n_fft/2 + 1, n_mels] -> [n_mels, n_fft/2 + 1], back from mel to frequency
        return (filters / filters.sum(dim=1, keepdim=True).clamp_min(TINY)).T.contiguous()


def correction(magnitude: torch.Tensor, mel: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """The factor of one step, ``[..., n_fft/2 + 1]``, for magnitudes and linear mels."""
    if magnitude.device.type == "cpu" and not torch.is_grad_enabled():
        return _banded_correction(magnitude, mel, config)
    device = str(magnitude.device)
    estimate = magnitude @ mel_filters(config, device)
    return (mel / estimate.clamp_min(TINY)) @ spread(config, device)


def _banded_correction(
    magnitude: torch.Tensor, mel: torch.Tensor, config: MelConfig
) -> torch.Tensor:
    """The same in half the time: each part of the spectrum with the mel bins that see it only."""
    rows = magnitude.reshape(-1, magnitude.shape[-1])
    estimate = rows.new_zeros(len(rows), config.n_mels)
    for bins, mels, filters, _ in _bands(config):
        estimate[:, mels].addmm_(rows[:, bins], filters)
    ratio = mel.reshape(estimate.shape) / estimate.clamp_min_(TINY)
    factor = torch.empty_like(rows, memory_format=torch.contiguous_format)
    for bins, mels, _, back in _bands(config):
        torch.mm(ratio[:, mels], back, out=factor[:, bins])
    return factor.reshape(magnitude.shape)


@lru_cache(maxsize=16)
def _bands(config: MelConfig) -> list[tuple[slice, slice, torch.Tensor, torch.Tensor]]:
    """Parts of the spectrum: their bins, the mel bins that see them, and the two matrices."""
    filters, back = mel_filters(config, "cpu"), spread(config, "cpu")
    bands = []
    for first, last in pairwise(round(len(filters) * part) for part in BANDS):
        seen = filters[first:last].any(dim=0).nonzero().flatten().tolist()
        mels = slice(seen[0], seen[-1] + 1) if seen else slice(0, 0)
        bins = slice(first, last)
        with torch.inference_mode(False):
            bands.append(
                (bins, mels, filters[bins, mels].contiguous(), back[mels, bins].contiguous())
            )
    return bands
