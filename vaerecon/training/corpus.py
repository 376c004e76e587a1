"""Folders of audio as an endless stream of augmented training crops.

Every file is decoded once to 16 kHz mono and kept in memory as 16-bit integers (about 115 MB an
hour). A crop is drawn from a file with probability proportional to its length, then changed:
speed (and with it pitch), a spectral tilt, a second source mixed in, polarity and level. Each
change is drawn anew, so one hour of audio serves many passes.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from vaerecon.audio import load_audio

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".m4a"}


@dataclass(frozen=True)
class Augmentation:
    """How far a crop may be changed. Probabilities are per crop."""

    speed: float = 0.35  # probability of resampling by a random factor
    speed_range: tuple[float, float] = (0.8, 1.25)  # factor; above 1 is faster and higher
    tilt: float = 0.3  # probability of a spectral tilt
    tilt_db: float = 9.0  # dB; largest change between 0 and 8 kHz
    mix: float = 0.2  # probability of a second source
    mix_db: tuple[float, float] = (-20.0, 0.0)  # dB; level of the second source
    gain: float = 0.7  # probability of a level below full (quiet passages of a clip)
    gain_db: tuple[float, float] = (-30.0, 0.0)  # dB; level of the crop's peak


NO_AUGMENTATION = Augmentation(speed=0, tilt=0, mix=0, gain=0)


def held_out(name: str, share: float = 0.06) -> bool:
    """Whether the file called ``name`` belongs to the validation part, decided by its hash."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < share


def find_audio(folders: list[Path]) -> list[Path]:
    """Audio files below ``folders``, sorted by name.

    Raises
    ------
    ValueError
        If a folder does not exist or holds no audio.
    """
    files = []
    for folder in folders:
        found = [p for p in sorted(Path(folder).rglob("*")) if p.suffix.lower() in AUDIO_SUFFIXES]
        if not found:
            raise ValueError(
                f"training data: got {str(folder)!r}, expected a folder with audio files "
                f"({', '.join(sorted(AUDIO_SUFFIXES))})"
            )
        files += found
    return files


class Corpus:
    """Audio in memory, and random crops of it.

    Parameters
    ----------
    folders
        Searched recursively for audio.
    part
        ``"train"`` or ``"validation"`` (about 6 % of the files, chosen by a hash of their names,
        so that the split survives new files).
    """

    def __init__(self, folders: list[Path], part: str = "train", sample_rate: int = 16000):
        files = [f for f in find_audio(folders) if held_out(f.name) == (part == "validation")]
        if not files:
            raise ValueError(
                f"training data: no file falls into the {part} part; add more (about 20 are enough)"
            )
        self.sample_rate = sample_rate
        self.clips: list[np.ndarray] = []
        for path in tqdm(files, desc=f"reading {part} audio", unit="file", leave=False):
            samples = load_audio(path, sample_rate=sample_rate).samples
            peak = float(np.abs(samples).max())
            if peak > 1e-4:  # an empty take teaches nothing
                self.clips.append(np.round(samples / peak * 32767).astype(np.int16))
        lengths = np.array([len(c) for c in self.clips], dtype=np.float64)
        self.seconds = float(lengths.sum()) / sample_rate
        self.weights = lengths / lengths.sum()
        logger.info("%s: %d files, %.1f min", part, len(self.clips), self.seconds / 60)

    def crop(self, n_samples: int, rng: np.random.Generator, augment: Augmentation) -> np.ndarray:
        """One crop ``[n_samples]``, float32, peak at most 0.5."""
        x = self._cut(n_samples, rng, augment)
        if rng.random() < augment.mix:
            level = 10 ** (rng.uniform(*augment.mix_db) / 20)
            x = x + level * self._cut(n_samples, rng, augment)
        if rng.random() < augment.tilt:
            x = _tilt(x, rng.uniform(-augment.tilt_db, augment.tilt_db))
        x = x - x.mean()
        gain_db = rng.uniform(*augment.gain_db) if rng.random() < augment.gain else 0.0
        scale = 0.5 * 10 ** (gain_db / 20) / max(float(np.abs(x).max()), 1e-3)
        return (x * scale * rng.choice((-1.0, 1.0))).astype(np.float32)

    def _cut(self, n_samples: int, rng: np.random.Generator, augment: Augmentation) -> np.ndarray:
        """A random piece of a random file, perhaps at another speed; short files are padded."""
        clip = self.clips[rng.choice(len(self.clips), p=self.weights)]
        factor = rng.uniform(*augment.speed_range) if rng.random() < augment.speed else 1.0
        wanted = round(n_samples * factor)
        start = rng.integers(0, max(1, len(clip) - wanted + 1))
        x = clip[start : start + wanted].astype(np.float32) / 32767
        if factor != 1.0:
            import soxr

            x = soxr.resample(x, factor * self.sample_rate, self.sample_rate, quality="MQ")
        return np.pad(x[:n_samples], (0, max(0, n_samples - len(x))))

    def batch(
        self,
        size: int,
        n_samples: int,
        rng: np.random.Generator,
        augment: Augmentation = Augmentation(),
    ) -> torch.Tensor:
        """``[size, n_samples]`` float32 crops."""
        return torch.from_numpy(np.stack([self.crop(n_samples, rng, augment) for _ in range(size)]))


def _tilt(x: np.ndarray, db: float) -> np.ndarray:
    """Raise or lower the spectrum linearly in dB from 0 Hz to half the sample rate."""
    spectrum = np.fft.rfft(x)
    return np.fft.irfft(spectrum * 10 ** (np.linspace(-db / 2, db / 2, len(spectrum)) / 20), len(x))
