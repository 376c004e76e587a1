"""Compute log-mels exactly as in the training of AudioLDM2's VAE and vocoder.

The steps (the source of every constant is in :class:`vaerecon.mel.config.MelConfig`):

1. remove the mean, scale the peak to 0.5 (:func:`vaerecon.audio.samples.normalize_level`);
2. reflect-pad, cut into frames of 1024 samples every 160, apply a periodic Hann window;
3. magnitude (power 1) of the real FFT, summed by 64 Slaney mel filters;
4. natural logarithm of ``max(mel, 1e-5)``: the floor is -11.51 nepers.

Conventions: samples are ``[N]`` or ``[B, N]``, log-mels ``[T, 64]`` or ``[B, T, 64]``, in nepers
(1 neper is 8.69 dB), float32. Two framings exist in the official code: ``"train"`` centres frame
``i`` at sample ``160 i + 80``, ``"inference"`` at ``160 i`` and has one frame more. The models
learned from ``"train"``, so it is the default everywhere.

Notebook: ``01_mel_analysis``.

References
----------
.. [1] H. Liu et al., "AudioLDM 2", IEEE/ACM TASLP 2024. Front-end: ``audioldm_train/utilities/
   data/dataset.py`` (training) and ``audioldm2/utilities/audio/stft.py`` (inference).
.. [2] J. Kong et al., "HiFi-GAN", NeurIPS 2020: the mel of ``meldataset.py``.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from vaerecon.audio.samples import ArrayLike, Reader, as_float32, as_samples, normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL, Framing, MelConfig
from vaerecon.mel.filters import sum_bands
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.threads import on_cores
from vaerecon.utils.windows import split

BLOCK = 256  # frames computed at once, so that their windows fit the processor's cache


def check_log_mel(log_mel: ArrayLike, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """Return ``log_mel`` as a float32 tensor ``[T, M]`` or ``[B, T, M]``.

    Raises ValueError if the last axis is not ``config.n_mels``: nothing is transposed silently.
    """
    x = as_float32(log_mel, "log-mel")
    shape, mels = list(x.shape), config.n_mels
    wrong = f"log-mel: got shape {shape}, expected [T, {mels}] or [B, T, {mels}]"
    if x.ndim not in (2, 3):
        hint = "; drop the channel axis with .squeeze(1)" if x.ndim == 4 else ""
        raise ValueError(wrong + hint)
    if shape[-1] != mels:
        fix = f"compute it with vaerecon.log_mel, which gives {mels} bins"
        if shape[-2] == mels:
            fix = "it looks transposed: use .transpose(-1, -2)"
        raise ValueError(f"{wrong} (time before frequency); {fix}")
    if shape[-2] == 0:
        raise ValueError(f"log-mel: got no frames (shape {shape}), expected at least one")
    return x


@lru_cache(maxsize=16)
def hann_window(config: MelConfig = AUDIOLDM_MEL, device: str = "cpu") -> torch.Tensor:
    """Return the periodic Hann window, ``[win_length]``."""
    with torch.inference_mode(False):  # cached, so it must also work in training
        return torch.hann_window(config.win_length, device=device, dtype=torch.float32)


def stft_frames(
    samples: torch.Tensor, config: MelConfig = AUDIOLDM_MEL, framing: Framing = "train"
) -> torch.Tensor:
    """Compute the complex STFT, time first: ``[B, N] -> [B, T, n_fft/2 + 1]``, ``[N] -> [T, ...]``.

    The tail is reflected up to a whole hop, so that ``T = ceil(N / hop)`` frames cover every
    sample (one more for ``"inference"``).
    """
    n_samples = samples.shape[-1]
    n_frames = config.n_frames(n_samples, framing)
    return stft_section(lambda a, b: samples[..., a:b], n_samples, 0, n_frames, config, framing)


def stft_section(
    read: Reader, n_samples: int, first: int, last: int,
    config: MelConfig = AUDIOLDM_MEL, framing: Framing = "train",
) -> torch.Tensor:  # fmt: skip
    """Compute frames ``first`` to ``last`` (exclusive) of :func:`stft_frames` of a long sound.

    ``read`` returns samples ``[stop - start]`` or ``[B, stop - start]`` of the ``n_samples``. The
    result is exact: samples around the section are read too, only the sound's ends are reflected.
    """
    padding, hop = config.padding(framing), config.hop_length
    wanted = slice(0, last - first)
    overlap = math.ceil(config.n_fft / hop)  # frames that contain one sample
    if last - first <= overlap:  # too few samples for a reflection at an end: compute more frames
        wanted = slice(first - max(0, first - overlap), last - max(0, first - overlap))
        first = max(0, first - overlap)
        last = min(config.n_frames(n_samples, framing), last + overlap)
    start = first * hop - padding
    stop = (last - 1) * hop + config.n_fft - padding
    x = read(max(0, start), min(n_samples, stop))
    if start < 0 or stop > n_samples:
        # a reflection needs more samples than it copies: very short clips are padded with zeros
        x = F.pad(x, (0, max(0, padding + hop - n_samples)))
        missing = max(0, stop - max(0, start) - x.shape[-1])
        x = F.pad(x[None], (max(0, -start), missing), mode="reflect")[0]
    frames = x.unfold(-1, config.n_fft, hop)  # a view: [..., T, n_fft]
    spectrum: torch.Tensor = torch.fft.rfft(frames * hann_window(config, str(x.device)))
    return spectrum[..., wanted, :]


@without_autocast
def magnitude_to_log_mel(magnitude: torch.Tensor, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """Convert magnitudes ``[..., T, n_fft/2 + 1]`` (power 1) to ``[..., T, n_mels]`` in nepers."""
    return sum_bands(magnitude, config).clamp_min(config.floor).log()


def magnitudes(spectrum: torch.Tensor) -> torch.Tensor:
    """Return ``spectrum.abs()``; on a CPU by numpy, which is several times as fast."""
    if spectrum.device.type != "cpu" or spectrum.requires_grad:
        return spectrum.abs()
    return torch.from_numpy(np.abs(spectrum.numpy()))


@torch.no_grad()
@without_autocast
def log_mel(
    samples: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
    normalize: bool = True,
) -> torch.Tensor:
    """Compute the log-mel spectrogram that AudioLDM2's VAE and vocoder expect.

    Parameters
    ----------
    samples
        ``[N]`` or ``[B, N]`` at ``config.sample_rate``; numpy, torch or a list.
    framing
        ``"train"`` (default: as the weights were trained) or ``"inference"`` (one frame more, 80
        samples earlier; the values differ by about 0.1 nepers).
    normalize
        Remove the mean and scale the peak to 0.5 first; ``False`` if that is already done.

    Returns
    -------
    torch.Tensor
        ``[T, n_mels]`` or ``[B, T, n_mels]``, nepers, float32, on the device of ``samples``.
        ``T = ceil(N / hop)``, one more for ``"inference"``.

    Raises
    ------
    ValueError
        For another shape, no samples, or values that are not finite.
    """
    x = as_samples(samples)
    if x.device.type != "cpu":
        return _log_mel(x, config, framing, normalize)
    clips = x if x.ndim == 2 else x[None]
    mels = on_cores(lambda i: _log_mel(clips[i], config, framing, normalize), len(clips))
    return mels if x.ndim == 2 else mels[0]


@torch.no_grad()
def _log_mel(x: torch.Tensor, config: MelConfig, framing: Framing, normalize: bool) -> torch.Tensor:
    """Compute :func:`log_mel` of one clip ``[N]``, or of a batch ``[B, N]`` at once."""
    x = normalize_level(x)[0] if normalize else x
    n_samples = x.shape[-1]
    pieces = [
        log_mel_section(lambda a, b: x[..., a:b], n_samples, first, last, config, framing)
        for first, last in split(config.n_frames(n_samples, framing), BLOCK)
    ]
    return torch.cat(pieces, dim=-2)


def log_mel_section(
    read: Reader, n_samples: int, first: int, last: int,
    config: MelConfig = AUDIOLDM_MEL, framing: Framing = "train",
) -> torch.Tensor:  # fmt: skip
    """Compute frames ``first`` to ``last`` of the log-mel of a sound that is read in sections.

    Arguments as in :func:`stft_section`. The samples must already have a normalised level.
    """
    spectrum = stft_section(read, n_samples, first, last, config, framing)
    return magnitude_to_log_mel(magnitudes(spectrum), config)


def naive_log_mel(samples: ArrayLike, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """Compute the log-mel of many tutorials, to show its error. Do not pass it to a model.

    ``librosa.feature.melspectrogram`` at its defaults, decibels relative to the maximum with 80 dB
    of range, scaled to 0..1 per clip: ``[N]`` to ``[N // hop + 1, n_mels]``.
    """
    import librosa

    x = as_samples(samples)
    if x.ndim != 1:
        raise ValueError(f"samples: got shape {list(x.shape)}, expected [N] (one clip)")
    power = librosa.feature.melspectrogram(
        y=x.cpu().numpy(), sr=config.sample_rate, n_fft=config.n_fft,
        hop_length=config.hop_length, n_mels=config.n_mels,
    )  # fmt: skip
    decibels = librosa.power_to_db(power, ref=np.max)
    span = float(decibels.max() - decibels.min())
    scaled = (decibels - decibels.min()) / (span if span > 0 else 1.0)
    # librosa: [n_mels, T] -> [T, n_mels]
    return torch.from_numpy(scaled.T.copy()).to(torch.float32)
