"""Samples to log-mel, exactly as AudioLDM2's VAE and vocoder were trained.

The recipe, with the source of every constant beside its field in :class:`MelConfig`:

1. remove the mean, scale the peak to 0.5 (:func:`normalize_level`);
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

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from vaerecon.chunks import spans
from vaerecon.cores import on_cores

Framing = Literal["train", "inference"]
ArrayLike = np.ndarray | torch.Tensor | list[float]
Reader = Callable[[int, int], torch.Tensor]  # (start, stop) to that section of a sound

BLOCK = 256  # frames computed at once: their windows stay in the cache, however long the sound is
BANDS = (0, 1 / 8, 1 / 4, 1 / 2, 1)  # parts of the spectrum; mel bins are narrow at its low end
PEAK = 0.5  # peak of a normalised waveform; audioldm_train dataset.py, normalize_wav
SILENCE = 1e-8  # a peak at or below this is silence; same function, its division guard


@dataclass(frozen=True)
class MelConfig:
    """Settings of a log-mel front-end. The defaults are AudioLDM2's."""

    sample_rate: int = 16000  # Hz; preprocessing.audio.sampling_rate, vocoder.sampling_rate
    n_fft: int = 1024  # samples; preprocessing.stft.filter_length
    win_length: int = 1024  # samples; preprocessing.stft.win_length
    hop_length: int = 160  # samples; preprocessing.stft.hop_length = prod(vocoder.upsample_rates)
    n_mels: int = 64  # bins; preprocessing.mel.n_mel_channels = vocoder.model_in_dim
    fmin: float = 0.0  # Hz; preprocessing.mel.mel_fmin
    fmax: float = 8000.0  # Hz; preprocessing.mel.mel_fmax
    floor: float = 1e-5  # magnitude; clip_val of dynamic_range_compression

    def __post_init__(self) -> None:
        if min(self.n_mels, self.n_fft, self.hop_length) < 1:
            raise ValueError(
                f"mel settings: got {self.n_mels} bins, a window of {self.n_fft} and a hop of "
                f"{self.hop_length}, expected bins, window and hop of at least 1"
            )
        if self.win_length != self.n_fft:
            raise ValueError(
                f"win_length: got {self.win_length}, expected n_fft ({self.n_fft}); set both"
            )
        if self.hop_length >= self.n_fft:
            raise ValueError(
                f"hop_length: got {self.hop_length}, expected less than the window of "
                f"{self.n_fft} samples: what lies between two windows would be lost; "
                "take a shorter hop or a longer window"
            )
        if (self.n_fft - self.hop_length) % 2:
            raise ValueError(
                f"hop_length: got {self.hop_length} with a window of {self.n_fft}, expected an "
                "even difference, which is padded half and half; take an even hop"
            )
        nyquist = self.sample_rate / 2
        if not 0 <= self.fmin < self.fmax <= nyquist:
            raise ValueError(
                f"range: got {self.fmin:g} to {self.fmax:g} Hz, expected an interval within "
                f"0 to {nyquist:g} Hz; move the ends apart"
            )

    @property
    def log_floor(self) -> float:
        """The value of silence, in nepers (-11.5129 for AudioLDM2)."""
        return math.log(self.floor)

    @property
    def frames_per_second(self) -> float:
        """Mel frames in a second (100 for AudioLDM2)."""
        return self.sample_rate / self.hop_length

    def padding(self, framing: Framing) -> int:
        """Samples reflected at each end: 432 for ``"train"``, 512 for ``"inference"``."""
        if framing == "train":
            return (self.n_fft - self.hop_length) // 2
        if framing == "inference":
            return self.n_fft // 2
        raise ValueError(f"framing: got {framing!r}, expected 'train' or 'inference'")

    def n_frames(self, n_samples: int, framing: Framing = "train") -> int:
        """Number of frames that cover ``n_samples``: ``ceil(N / hop)``, one more for inference."""
        return math.ceil(n_samples / self.hop_length) + (framing == "inference")

    def frame_center(self, frame: int, framing: Framing = "train") -> int:
        """Sample at which ``frame`` is centred."""
        return frame * self.hop_length + self.n_fft // 2 - self.padding(framing)


AUDIOLDM_MEL = MelConfig()


@dataclass(frozen=True)
class Level:
    """What :func:`normalize_level` removed, so that it can be put back.

    ``mean`` and ``gain`` are scalars, or ``[B, 1]`` for a batch:
    ``normalised = (samples - mean) * gain``.
    """

    mean: torch.Tensor
    gain: torch.Tensor
    silent: torch.Tensor | bool = False  # nothing but a mean: normalised to zeros

    def apply(self, samples: torch.Tensor) -> torch.Tensor:
        """Normalise ``samples``, or a section of them."""
        silent = torch.as_tensor(self.silent, device=samples.device)
        return (samples - self.mean).mul_(torch.where(silent, 0.0, self.gain))

    def restore(self, normalized: torch.Tensor) -> torch.Tensor:
        """Scale ``normalized`` back to the level of the original; the mean (DC) stays removed."""
        return normalized / self.gain.to(normalized.device)


def _as_float32(values: ArrayLike, name: str) -> torch.Tensor:
    """Real numbers as a float32 tensor; numpy arrays of any byte order and stride are copied."""
    if isinstance(values, torch.Tensor):
        kind, x = ("c" if values.is_complex() else "f"), values
    else:
        array = np.asarray(values)
        kind, x = array.dtype.kind, array
    if kind not in "fiub":
        raise ValueError(f"{name}: got {x.dtype}, expected real numbers, such as float32")
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(np.array(x, dtype=np.float32, order="C"))
    return x.to(torch.float32)


def as_samples(samples: ArrayLike) -> torch.Tensor:
    """Return ``samples`` as a float32 tensor ``[N]`` or ``[B, N]``, checked.

    Raises
    ------
    ValueError
        If the shape is another, nothing is in it, or a value is not finite.
    """
    x = _samples_in_layout(samples)
    # a finite sum has only finite terms, and is quicker than a look at each
    if not (torch.isfinite(x.sum()) or torch.isfinite(x).all()):
        raise ValueError(
            "samples: got NaN or infinite values, expected finite ones; "
            "clean them first, for example with numpy.nan_to_num"
        )
    return x


def _samples_in_layout(samples: ArrayLike) -> torch.Tensor:
    """:func:`as_samples` but for the values."""
    x = _as_float32(samples, "samples")
    if x.ndim not in (1, 2):
        raise ValueError(
            f"samples: got shape {list(x.shape)}, expected [N] or [B, N]; "
            "mix channels down first, for example samples.mean(axis=0)"
        )
    if x.numel() == 0:
        raise ValueError(f"samples: got none (shape {list(x.shape)}), expected at least one")
    if x.ndim == 2 and x.shape[0] > x.shape[1] and x.shape[1] <= 8:
        raise ValueError(
            f"samples: got shape {list(x.shape)}, which looks like [N, channels]; "
            "expected [B, N]: mix down or transpose"
        )
    return x


def check_log_mel(log_mel: ArrayLike, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """Return ``log_mel`` as a float32 tensor ``[T, M]`` or ``[B, T, M]``, layout checked.

    Raises
    ------
    ValueError
        If the last axis is not ``config.n_mels``. Nothing is ever transposed silently.
    """
    x = _as_float32(log_mel, "log-mel")
    shape, mels = list(x.shape), config.n_mels
    if x.ndim not in (2, 3):
        hint = "; drop the channel axis with .squeeze(1)" if x.ndim == 4 else ""
        raise ValueError(
            f"log-mel: got shape {shape}, expected [T, {mels}] or [B, T, {mels}]{hint}"
        )
    if shape[-1] != mels:
        fix = (
            "it looks transposed: use .transpose(-1, -2)"
            if shape[-2] == mels
            else f"compute it with vaerecon.log_mel, which gives {mels} bins"
        )
        raise ValueError(
            f"log-mel: got shape {shape}, expected [T, {mels}] or [B, T, {mels}] "
            f"(time before frequency); {fix}"
        )
    if shape[-2] == 0:
        raise ValueError(f"log-mel: got no frames (shape {shape}), expected at least one")
    return x


def normalize_level(samples: ArrayLike) -> tuple[torch.Tensor, Level]:
    """Remove the mean and scale the peak to 0.5, as AudioLDM2's training did.

    Parameters
    ----------
    samples
        ``[N]`` or ``[B, N]``, any level.

    Returns
    -------
    normalized
        Same shape; peak 0.5, or zeros where the input is silent (with a warning).
    level
        What was removed; ``level.restore`` puts the level back.
    """
    x = as_samples(samples)
    along = {"dim": -1, "keepdim": x.ndim == 2}
    level = _level(x.mean(**along), x.amin(**along), x.amax(**along))
    return level.apply(x), level


def measure_level(n_samples: int, read: Reader, longest: int) -> Level:
    """The level of one clip that is read in sections of ``longest`` samples.

    A clip no longer than that has the very numbers of :func:`normalize_level`; the mean of a longer
    one is summed in float64.
    """
    if n_samples <= longest:
        return normalize_level(read(0, n_samples))[1]
    total, lowest, highest = 0.0, math.inf, -math.inf
    for start, stop in spans(n_samples, longest):
        x = read(start, stop)
        total += float(x.double().sum())
        lowest, highest = min(lowest, float(x.min())), max(highest, float(x.max()))
    mean = torch.tensor(total / n_samples, dtype=torch.float32)
    return _level(mean, torch.tensor(lowest), torch.tensor(highest))


def _level(mean: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> Level:
    peak = torch.maximum(highest - mean, mean - lowest)
    silent = peak <= SILENCE
    if silent.any():
        warnings.warn("samples are silent (or constant): kept as zeros, gain 1", stacklevel=3)
    gain = torch.where(silent, torch.ones_like(peak), PEAK / peak.clamp_min(SILENCE))
    return Level(mean, gain, silent)


@lru_cache(maxsize=16)
def mel_filters(config: MelConfig = AUDIOLDM_MEL, device: str = "cpu") -> torch.Tensor:
    """Slaney-style triangular mel filters with Slaney normalisation, ``[n_fft/2 + 1, n_mels]``.

    The transpose of ``librosa.filters.mel`` at its defaults, which the official code calls.
    """
    from librosa.filters import mel

    weights = mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
    )
    # librosa: [n_mels, n_fft/2 + 1] -> [n_fft/2 + 1, n_mels], so that frames @ filters works
    with torch.inference_mode(False):  # cached, so it must serve training too
        return torch.from_numpy(weights.T.copy()).to(device)


@dataclass(frozen=True)
class Band:
    """A part of the spectrum, and the mel bins that see it: the filters are zero elsewhere."""

    bins: slice  # of the n_fft/2 + 1
    mels: slice  # of the n_mels
    filters: torch.Tensor  # mel_filters[bins, mels]


@lru_cache(maxsize=16)
def bands(config: MelConfig = AUDIOLDM_MEL) -> tuple[Band, ...]:
    """The mel filters in a few dense pieces, on the CPU: a third of the multiplications."""
    filters = mel_filters(config)
    found = []
    for start, stop in pairwise(round(len(filters) * part) for part in BANDS):
        seen = filters[start:stop].any(dim=0).nonzero().flatten()
        first, last = (int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, 0)
        # matrices whose width is a multiple of 8 are multiplied up to twice as fast
        width = min(-(-(last - first) // 8) * 8, config.n_mels)
        mels = slice(min(first, config.n_mels - width), min(first, config.n_mels - width) + width)
        with torch.inference_mode(False):  # cached, so it must serve training too
            found.append(Band(slice(start, stop), mels, filters[start:stop, mels].contiguous()))
    return tuple(found)


def sum_bands(magnitude: torch.Tensor, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """``[..., n_fft/2 + 1]`` STFT magnitudes to ``[..., n_mels]``, linear: times the filters."""
    if magnitude.device.type != "cpu" or torch.is_grad_enabled():
        return magnitude @ mel_filters(config, str(magnitude.device))
    rows = magnitude.reshape(-1, magnitude.shape[-1])
    mel = rows.new_zeros(len(rows), config.n_mels)
    for band in bands(config):
        mel[:, band.mels].addmm_(rows[:, band.bins], band.filters)
    return mel.reshape(*magnitude.shape[:-1], config.n_mels)


@lru_cache(maxsize=16)
def hann_window(config: MelConfig = AUDIOLDM_MEL, device: str = "cpu") -> torch.Tensor:
    """Periodic Hann window of ``win_length``, ``[win_length]``."""
    with torch.inference_mode(False):  # cached, so it must serve training too
        return torch.hann_window(config.win_length, device=device)


def stft_frames(
    samples: torch.Tensor, config: MelConfig = AUDIOLDM_MEL, framing: Framing = "train"
) -> torch.Tensor:
    """Complex STFT, frame-major: ``[B, N] -> [B, T, n_fft/2 + 1]`` (``[N] -> [T, ...]``).

    The tail is reflected up to a whole hop, so that ``T = ceil(N / hop)`` frames cover every
    sample (one more for ``"inference"``).
    """
    n_samples = samples.shape[-1]

    def read(start: int, stop: int) -> torch.Tensor:
        return samples[..., start:stop]

    return stft_section(read, n_samples, 0, config.n_frames(n_samples, framing), config, framing)


def stft_section(
    read: Reader,
    n_samples: int,
    first: int,
    last: int,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Frames ``first`` to ``last`` (not included) of :func:`stft_frames` of a long sound.

    Exact: what the frames need of the samples beside them is read too, and only what lies beyond
    the sound is reflected.

    Parameters
    ----------
    read
        ``(start, stop)`` to samples ``[stop - start]`` or ``[B, stop - start]``.
    n_samples
        Of the whole sound.
    """
    padding, hop = config.padding(framing), config.hop_length
    wanted = slice(0, last - first)
    reach = math.ceil(config.n_fft / hop)
    if last - first <= reach:  # too few at an end for its reflection: compute more
        wanted = slice(first - max(0, first - reach), last - max(0, first - reach))
        first = max(0, first - reach)
        last = min(config.n_frames(n_samples, framing), last + reach)
    start = first * hop - padding
    stop = (last - 1) * hop + config.n_fft - padding
    x = read(max(0, start), min(n_samples, stop))
    if first == 0:
        # a reflection needs more samples than it copies, so very short clips get a silent tail
        x = F.pad(x, (0, max(0, padding + hop - n_samples)))
    batched = x if x.ndim == 2 else x[None]
    missing = stop - max(0, start) - x.shape[-1]
    padded = F.pad(batched, (max(0, -start), max(0, missing)), mode="reflect")
    frames = padded.unfold(-1, config.n_fft, config.hop_length)  # a view: [B, T, n_fft]
    spectrum = torch.fft.rfft(frames * hann_window(config, str(x.device)))
    spectrum = spectrum[:, wanted]
    return spectrum if x.ndim == 2 else spectrum[0]


def magnitude_to_log_mel(magnitude: torch.Tensor, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """``[..., T, n_fft/2 + 1]`` STFT magnitudes (power 1) to ``[..., T, n_mels]`` nepers."""
    return sum_bands(magnitude, config).clamp_min(config.floor).log()


def magnitudes(spectrum: torch.Tensor) -> torch.Tensor:
    """``spectrum.abs()``; on a CPU by numpy, which takes a fifth of torch's time or less."""
    if spectrum.device.type != "cpu" or spectrum.requires_grad:
        return spectrum.abs()
    return torch.from_numpy(np.abs(spectrum.numpy()))


@torch.inference_mode()
def log_mel(
    samples: ArrayLike,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
    normalize: bool = True,
) -> torch.Tensor:
    """Log-mel spectrogram as AudioLDM2's VAE and vocoder expect it.

    Parameters
    ----------
    samples
        ``[N]`` or ``[B, N]`` at ``config.sample_rate``; numpy, torch (any device) or a list.
    config
        Front-end settings; the default is AudioLDM2's.
    framing
        ``"train"`` (default: what the weights saw) or ``"inference"`` (the official inference
        code's padding: one frame more, 80 samples earlier, about 0.1 nepers away).
    normalize
        Remove the mean and scale the peak to 0.5 first. ``False`` for samples that
        :func:`normalize_level` has already been over.

    Returns
    -------
    torch.Tensor
        ``[T, n_mels]`` or ``[B, T, n_mels]``, nepers, float32, on the device of ``samples``;
        at least ``config.log_floor``. ``T = ceil(N / hop)``, one more for ``"inference"``.

    Raises
    ------
    ValueError
        For another shape, no samples, or values that are not finite.

    References
    ----------
    Module docstring, [1]_ and [2]_. Shown in ``notebooks/01_mel_analysis.ipynb``.
    """
    x = _samples_in_layout(samples)
    if x.device.type != "cpu":
        return _log_mel(x, config, framing, normalize)
    clips = x if x.ndim == 2 else x[None]
    mels = on_cores(lambda i: _log_mel(clips[i], config, framing, normalize), len(clips))
    return mels if x.ndim == 2 else mels[0]


@torch.inference_mode()
def _log_mel(x: torch.Tensor, config: MelConfig, framing: Framing, normalize: bool) -> torch.Tensor:
    """Of a clip, or of a batch at once."""
    x = normalize_level(x)[0] if normalize else as_samples(x)
    n_samples = x.shape[-1]
    pieces = [
        log_mel_section(lambda a, b: x[..., a:b], n_samples, first, last, config, framing)
        for first, last in spans(config.n_frames(n_samples, framing), BLOCK)
    ]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-2)


def log_mel_section(
    read: Reader,
    n_samples: int,
    first: int,
    last: int,
    config: MelConfig = AUDIOLDM_MEL,
    framing: Framing = "train",
) -> torch.Tensor:
    """Frames ``first`` to ``last`` of the log-mel of a sound that is read in sections.

    As :func:`stft_section`; the samples are taken as they are, so normalise their level first.
    """
    spectrum = stft_section(read, n_samples, first, last, config, framing)
    return magnitude_to_log_mel(magnitudes(spectrum), config)


def naive_log_mel(samples: ArrayLike, config: MelConfig = AUDIOLDM_MEL) -> torch.Tensor:
    """The front-end of many tutorials, kept to show what it costs. Do not feed it to a model.

    ``librosa.feature.melspectrogram`` at its defaults (power 2, constant padding, its own frame
    grid), decibels relative to the maximum with 80 dB of range, scaled to 0..1 per clip.

    Parameters
    ----------
    samples
        ``[N]`` at ``config.sample_rate``.

    Returns
    -------
    torch.Tensor
        ``[T, n_mels]`` in 0..1, ``T = N // hop + 1``. (The tutorials keep librosa's ``[64, T]``;
        here time comes first, as everywhere in the kit.)
    """
    import librosa

    x = as_samples(samples)
    if x.ndim != 1:
        raise ValueError(f"samples: got shape {list(x.shape)}, expected [N] (one clip)")
    power = librosa.feature.melspectrogram(
        y=x.cpu().numpy(),
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
    )
    decibels = librosa.power_to_db(power, ref=np.max)
    span = float(decibels.max() - decibels.min())
    scaled = (decibels - decibels.min()) / (span if span > 0 else 1.0)
    # librosa: [n_mels, T] -> [T, n_mels]
    return torch.from_numpy(scaled.T.copy()).to(torch.float32)


def check_model_configs(vae: Any, vocoder: Any, config: MelConfig = AUDIOLDM_MEL) -> None:
    """Compare the front-end with what a checkpoint's own configs say.

    Parameters
    ----------
    vae
        Config of a diffusers ``AutoencoderKL`` (mapping).
    vocoder
        Config of a transformers ``SpeechT5HifiGan`` (object with its fields).

    Raises
    ------
    ValueError
        If mel bins, sample rate, hop or channels do not fit: says which, and why it matters.
    """
    hop = math.prod(vocoder.upsample_rates)
    facts = [
        ("vae in_channels", vae["in_channels"], 1, "a mel is a picture with one channel"),
        ("vae out_channels", vae["out_channels"], 1, "a mel is a picture with one channel"),
        ("vocoder model_in_dim", vocoder.model_in_dim, config.n_mels, "mel bins per frame"),
        ("vocoder sampling_rate", vocoder.sampling_rate, config.sample_rate, "Hz"),
        ("product of vocoder upsample_rates", hop, config.hop_length, "samples per mel frame"),
    ]
    wrong = [
        f"{name} is {got}, expected {want} ({why})" for name, got, want, why in facts if got != want
    ]
    if wrong:
        raise ValueError(
            "checkpoint does not fit the AudioLDM mel front-end: "
            + "; ".join(wrong)
            + ". Use a checkpoint of the AudioLDM, AudioLDM2 or MusicLDM family"
        )
