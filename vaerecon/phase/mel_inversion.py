"""Mel inversion: from a log-mel with 64 bins to STFT magnitudes at 513 frequencies.

By expectation maximisation [1]_: each step multiplies every frequency by the error ratio of the mel
bins that contain it, so magnitudes stay non-negative and detail between mel bins is kept.

Mels are ``[T, 64]`` or ``[B, T, 64]``, nepers; magnitudes are ``[T, 513]`` or ``[B, T, 513]``.
Differentiable. Notebook: ``04_method_comparison``.

References
----------
.. [1] W. Richardson, "Bayesian-based iterative method of image restoration", JOSA 1972; L. Lucy,
   "An iterative technique for the rectification of observed distributions", Astron. J. 1974.
"""

from collections.abc import Callable
from functools import lru_cache

import torch

from vaerecon.audio.samples import ArrayLike
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.filters import bands, mel_filters, sum_bands, uses_bands
from vaerecon.mel.front_end import BLOCK, check_log_mel
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.threads import on_cores
from vaerecon.utils.windows import split

SILENT = 1e-4  # nepers; tolerance for the floor, for the float32 rounding of log(1e-5)
TINY = 1e-15  # avoids 0 / 0; far below any magnitude of float32 samples
DETAIL = 0.9  # weight of `start`, against the smooth magnitude of the mel alone


@without_autocast
def mel_to_magnitude(
    log_mel: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    n_iter: int = 10,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """Estimate STFT magnitudes whose mel is ``log_mel``, by expectation maximisation [1]_.

    Applies the steps of :func:`fit_to_mel`, starting from ``A = W'm / W'1``, where ``W`` are the
    mel filters. A mel bin at the floor is silence; frequencies in no filter (0 Hz, 8 kHz) are 0.

    Parameters
    ----------
    n_iter
        Number of steps; ten leave an error of 0.005 nepers on music and speech.
    start
        Magnitudes to start from, which give the result its detail. They are mixed with a tenth of
        the default start, so that no bin stays at zero. ValueError for another shape.
    """
    mel = check_log_mel(log_mel, config)
    expected = [*mel.shape[:-1], config.n_fft // 2 + 1]
    if start is not None and list(start.shape) != expected:
        raise ValueError(f"start: got shape {list(start.shape)}, expected {expected}")

    def invert(log_mel: torch.Tensor, start: torch.Tensor | None = None) -> torch.Tensor:
        mel = linear_mel(log_mel, config)
        magnitude = mel @ spread(config, str(mel.device))
        if start is not None:
            magnitude = torch.lerp(magnitude, start, DETAIL)
        return _maximize(magnitude, mel, config, n_iter)

    return _in_blocks(invert, mel) if start is None else _in_blocks(invert, mel, start)


@without_autocast
def fit_to_mel(
    magnitude: torch.Tensor, log_mel: ArrayLike, config: MelConfig = AUDIOLDM_MEL, n_iter: int = 2
) -> torch.Tensor:
    """Correct ``magnitude`` towards ``log_mel`` by steps of expectation maximisation [1]_.

    A step is ``A <- A * W'(m / (W A)) / W'1``: it multiplies each frequency by the error ratio of
    its mel bins, and keeps the detail between them. ValueError if the numbers of frames differ.
    """
    mel = check_log_mel(log_mel, config)
    check_frames_of(mel, magnitude)

    def fit(magnitude: torch.Tensor, log_mel: torch.Tensor) -> torch.Tensor:
        return _maximize(magnitude, linear_mel(log_mel, config), config, n_iter)

    return _in_blocks(fit, magnitude, mel)


def check_frames_of(mel: torch.Tensor, magnitude: torch.Tensor) -> None:
    """Raise ``ValueError`` unless a mel and a magnitude have the same frames."""
    if mel.shape[:-1] != magnitude.shape[:-1]:
        raise ValueError(
            f"log-mel: got shape {list(mel.shape)}, expected the frames of the magnitude, "
            f"{[*magnitude.shape[:-1], mel.shape[-1]]}"
        )


def _maximize(
    magnitude: torch.Tensor, mel: torch.Tensor, config: MelConfig, n_iter: int
) -> torch.Tensor:
    for _ in range(n_iter):
        magnitude = magnitude * correction(magnitude, mel, config)
    return magnitude


def _in_blocks(function: Callable[..., torch.Tensor], *arrays: torch.Tensor) -> torch.Tensor:
    """Apply ``function``, which treats frames independently, to ``[T, ...]`` or ``[B, T, ...]``.

    On a CPU by blocks of frames, whose magnitudes fit the cache, and each clip on one core.
    """
    if not uses_bands(*arrays):
        return function(*arrays)
    clips = [x if x.ndim == 3 else x[None] for x in arrays]

    @torch.no_grad()
    def apply(i: int) -> torch.Tensor:
        blocks = split(clips[0].shape[1], BLOCK)
        return torch.cat([function(*(x[i, a:b] for x in clips)) for a, b in blocks])

    results = on_cores(apply, len(clips[0]))
    return results if arrays[0].ndim == 3 else results[0]


def linear_mel(log_mel: ArrayLike, config: MelConfig) -> torch.Tensor:
    """Convert a log-mel (nepers) to mel magnitudes; values at the floor become 0."""
    x = check_log_mel(log_mel, config)
    return torch.where(x <= config.log_floor + SILENT, 0.0, x.exp())


@lru_cache(maxsize=16)
def spread(config: MelConfig, device: str) -> torch.Tensor:
    """Return ``W' / W'1``, ``[n_mels, n_fft/2 + 1]``: a weighted mean of the mel bins."""
    filters = mel_filters(config, device)
    with torch.inference_mode(False):  # cached, so it must also work in training
        # [n_fft/2 + 1, n_mels] -> [n_mels, n_fft/2 + 1], back from mel to frequency
        return (filters / filters.sum(dim=1, keepdim=True).clamp_min(TINY)).T.contiguous()


def correction(magnitude: torch.Tensor, mel: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Return the factor of one step, ``[..., n_fft/2 + 1]``, for magnitudes and linear mels."""
    ratio = mel / sum_bands(magnitude, config).clamp_min(TINY)
    if not uses_bands(ratio):
        return ratio @ spread(config, str(ratio.device))
    rows = ratio.reshape(-1, config.n_mels)
    factor = rows.new_empty(len(rows), magnitude.shape[-1])
    for band, back in zip(bands(config), _spread_bands(config), strict=True):
        torch.mm(rows[:, band.mels], back, out=factor[:, band.bins])
    return factor.reshape(magnitude.shape)


@lru_cache(maxsize=16)
def _spread_bands(config: MelConfig) -> list[torch.Tensor]:
    """Return :func:`spread` split into the bands of :func:`vaerecon.mel.filters.bands`."""
    back = spread(config, "cpu")
    with torch.inference_mode(False):
        return [back[band.mels, band.bins].contiguous() for band in bands(config)]
