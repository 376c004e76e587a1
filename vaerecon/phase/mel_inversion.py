"""Log-mel to STFT magnitudes: the energy of 64 mel bins spread over 513 frequencies again.

Expectation maximisation [1]_: each step multiplies every frequency by how far the mel bins that see
it are off, so magnitudes never become negative and detail between mel bins is kept.

Mels are ``[T, 64]`` or ``[B, T, 64]``, nepers; magnitudes are ``[T, 513]`` or ``[B, T, 513]``.
Gradients pass. Notebook: ``04_method_comparison``.

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

SILENT = 1e-4  # nepers above the floor that still count as the floor: float32 rounding of log(1e-5)
TINY = 1e-15  # keeps 0 / 0 at 0; far below any magnitude that float32 samples give
DETAIL = 0.9  # of the magnitude to start from, against the smooth one of the mel alone


@without_autocast
def mel_to_magnitude(
    log_mel: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    n_iter: int = 10,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """STFT magnitudes whose mel is ``log_mel``, by expectation maximisation [1]_.

    The steps of :func:`fit_to_mel` from ``A = W'm / W'1``, where ``W`` are the mel filters. A mel
    bin at the floor is silence; frequencies that no filter sees (0 Hz, 8 kHz) are 0.

    Parameters
    ----------
    n_iter
        Steps; ten leave 0.005 nepers of difference on music and speech.
    start
        Magnitudes to start from, which give the result its detail. A tenth of the default start
        goes in, so that no bin is stuck at zero. A ValueError for another layout.
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
    """``magnitude`` after some steps of expectation maximisation towards ``log_mel`` [1]_.

    A step is ``A <- A * W'(m / (W A)) / W'1``: it changes each bin by what its mel bins are off,
    and keeps the detail between them. A ValueError if the two do not have the same frames.
    """
    mel = check_log_mel(log_mel, config)
    check_frames_of(mel, magnitude)

    def hold(magnitude: torch.Tensor, log_mel: torch.Tensor) -> torch.Tensor:
        return _maximize(magnitude, linear_mel(log_mel, config), config, n_iter)

    return _in_blocks(hold, magnitude, mel)


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
    """``function`` of arrays ``[T, ...]`` or ``[B, T, ...]``, whose frames do not see each other.

    On a CPU some frames at a time, whose magnitudes fit its cache, and each clip on one core.
    """
    if not uses_bands(*arrays):
        return function(*arrays)
    clips = [x if x.ndim == 3 else x[None] for x in arrays]

    @torch.no_grad()
    def of_clip(i: int) -> torch.Tensor:
        blocks = split(clips[0].shape[1], BLOCK)
        return torch.cat([function(*(x[i, a:b] for x in clips)) for a, b in blocks])

    found = on_cores(of_clip, len(clips[0]))
    return found if arrays[0].ndim == 3 else found[0]


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
    """:func:`spread` in the pieces of :func:`vaerecon.mel.filters.bands`."""
    back = spread(config, "cpu")
    with torch.inference_mode(False):
        return [back[band.mels, band.bins].contiguous() for band in bands(config)]
