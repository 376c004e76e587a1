"""How a training crop may be changed: level, polarity, spectrum, a second source."""

from dataclasses import dataclass

import numpy as np

QUIET = 1e-3  # peak below which a crop is not raised to full level: it holds noise at best


@dataclass(frozen=True)
class Augmentation:
    """How far a crop may be changed. Probabilities are per crop."""

    speed: float = 0.35  # probability of resampling by a random factor
    speed_range: tuple[float, float] = (0.8, 1.25)  # factor; above 1 is faster and higher
    tilt: float = 0.3  # probability of a spectral tilt
    tilt_db: float = 9.0  # dB; largest change between 0 and 8 kHz
    peak: float = 0.3  # probability of a broad peak or dip in the spectrum
    peak_db: float = 6.0  # dB; its largest height or depth
    peak_hz: tuple[float, float] = (100.0, 6000.0)  # its centre, uniform in octaves
    peak_octaves: tuple[float, float] = (0.3, 1.5)  # its width (standard deviation)
    mix: float = 0.2  # probability of a second source
    mix_db: tuple[float, float] = (-20.0, 0.0)  # dB; level of the second source
    gain: float = 0.7  # probability of a level below full (quiet passages of a clip)
    gain_db: tuple[float, float] = (-30.0, 0.0)  # dB; level of the crop's peak


USUAL = Augmentation()
NO_AUGMENTATION = Augmentation(speed=0, tilt=0, peak=0, mix=0, gain=0)


def to_full_scale(x: np.ndarray) -> np.ndarray:
    """``x`` with its peak at 1, or less if it is nearly silent."""
    return x / max(float(np.abs(x).max()), QUIET)


def colour(
    x: np.ndarray, rng: np.random.Generator, augment: Augmentation, sample_rate: int
) -> np.ndarray:
    """``x`` ``[N]`` through a random gentle filter (zero phase), or as it is."""
    tilt = rng.uniform(-1, 1) * augment.tilt_db if rng.random() < augment.tilt else 0.0
    if rng.random() < augment.peak:
        low, high = np.log2(augment.peak_hz)
        peak = (2 ** rng.uniform(low, high), rng.uniform(*augment.peak_octaves))
        height = rng.uniform(-1, 1) * augment.peak_db
    else:
        peak, height = (1000.0, 1.0), 0.0
    if not (tilt or height):
        return x
    spectrum = np.fft.rfft(x)
    response = np.linspace(-tilt / 2, tilt / 2, len(spectrum)) + bell_db(
        np.fft.rfftfreq(len(x), 1 / sample_rate), *peak, height
    )
    return np.fft.irfft(spectrum * 10 ** (response / 20), len(x))


def bell_db(frequency: np.ndarray, centre: float, octaves: float, height: float) -> np.ndarray:
    """A bell in dB over octaves: ``height`` at ``centre`` Hz, 0 far from it."""
    distance = np.log2(np.maximum(frequency, 1.0) / centre) / octaves
    return height * np.exp(-0.5 * distance**2)
