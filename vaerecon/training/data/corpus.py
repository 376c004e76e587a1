"""Folders of audio, of any size and rate, as a source of augmented training crops.

A collection that fits into memory is decoded once to 16 kHz mono and kept as 16-bit integers (about
115 MB an hour). A larger one stays on disk and each crop is decoded when it is drawn, some
milliseconds a crop. Both give the same crops for the same random draws, up to the rounding to 16
bits. The length of a file is that in its header, else that of the decoded samples.

A crop is drawn from a file with probability proportional to its length, then augmented: speed (and
with it pitch), spectrum, a second source, polarity and level. Where a crop cannot be read, another
is drawn.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tqdm.auto import tqdm

from vaerecon.audio.clip import load_audio, stream_audio
from vaerecon.audio.paths import check_path, left_out, sounds_below
from vaerecon.training.data.augmentation import (
    USUAL_AUGMENTATION,
    Augmentation,
    colour,
    to_full_scale,
)

logger = logging.getLogger(__name__)

MEMORY_LIMIT = 2.0  # GB; a larger collection is read from disk crop by crop
SILENT = 1e-4  # peak below which a file is left out
FAILED_AT_MOST = 0.05  # of the crops, or of the first 100, that cannot be read; then training stops


def hash_share(name: str) -> float:
    """A number in 0..1 from the SHA-256 of ``name``."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def held_out(name: str, share: float = 0.06) -> bool:
    """Whether the file called ``name`` belongs to the validation part, decided by its hash."""
    return hash_share(name) < share


def split(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Training and validation files, by :func:`held_out`; at least one of each, else ValueError."""
    if len(files) < 2:
        raise ValueError(
            "training data: got one file, expected at least two (one is kept for validation); "
            "cut it in two, or add more"
        )
    names = {f.name for f in files}
    chosen = {name for name in names if held_out(name)}
    if not chosen or chosen == names:
        chosen = {min(names, key=hash_share)}
    if chosen == names:
        raise ValueError(
            f"training data: all files are called {files[0].name!r}, expected different names "
            "(they decide which are kept for validation)"
        )
    return [f for f in files if f.name not in chosen], [f for f in files if f.name in chosen]


def find_audio(folders: Sequence[Path]) -> list[Path]:
    """Audio files below ``folders``, sorted by name; a warning names the files left out.

    A folder that does not exist or has no audio is a ValueError.
    """
    files = []
    for folder in folders:
        check_path(folder)
        found, others = sounds_below(Path(folder))
        if not found:
            raise ValueError(
                f"training data: got {str(folder)!r}, expected a folder with audio files (.wav, "
                f".flac, .mp3, .m4a, ...){left_out(others)}"
            )
        if others:
            _warn_once(f"{folder}{left_out(others)}")
        files += sorted(found)
    return files


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    logger.warning("%s", text)  # a training looks into its folders several times


class _Source(Protocol):
    """A file's samples at the corpus's rate."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Float32, perhaps shorter; ``ValueError``, ``OSError`` if they cannot be read."""


class InMemory:
    """A decoded file as 16-bit integers, scaled so that its peak uses them all."""

    def __init__(self, samples: np.ndarray):
        self.peak = float(np.abs(samples).max())
        self.samples = np.round(samples / max(self.peak, 1e-9) * 32767).astype(np.int16)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.samples[start:stop].astype(np.float32) * np.float32(self.peak / 32767)


class OnDisk:
    """A file of which only the crops that are drawn are decoded."""

    def __init__(self, path: Path, sample_rate: int):
        self.path, self.sample_rate = path, sample_rate
        with stream_audio(path, sample_rate=sample_rate) as sound:
            # without a length in the header, all is decoded
            self.length = round((sound.seconds or 0) * sample_rate) or sum(map(len, sound.blocks))

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, stop: int) -> np.ndarray:
        rate = self.sample_rate
        return load_audio(self.path, (stop - start) / rate, start / rate, sample_rate=rate).samples


class Corpus:
    """Audio, and random crops of it.

    ``folders`` are searched recursively. ``part`` is ``"train"`` or ``"validation"`` (about 6 % of
    the files, at least one, chosen by a hash of their names, so that the split survives new files).
    More than ``memory_limit`` GB of 16-bit samples stay on disk. Too few files, or none that can be
    read, are a ValueError.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        part: str = "train",
        sample_rate: int = 16000,
        memory_limit: float = MEMORY_LIMIT,
        progress: bool = True,
    ):
        files = split(find_audio(folders))[part == "validation"]
        self.sample_rate, self.progress = sample_rate, progress
        # headers only: what does not fit is never decoded as a whole
        found = self._open(files, f"measuring {part} audio", OnDisk)
        size = 2 * sum(len(source) for source in found.values()) / 1e9
        self.streaming = size > memory_limit
        if not self.streaming:
            found = self._open(list(found), f"reading {part} audio", _decode)
        self.names = [path.name for path in found]
        self.clips: list[_Source] = list(found.values())
        self.drawn = 0  # crops, whether they could be read or not
        self.failed: Counter[str] = Counter()  # crops that could not be read, by file
        lengths = np.array([len(clip) for clip in self.clips], dtype=np.float64)
        if not lengths.sum():
            raise ValueError(
                f"training data: no file of the {part} part could be read or has any sound; "
                "see the warnings above"
            )
        self.seconds = float(lengths.sum()) / sample_rate
        self._until = np.cumsum(lengths) / lengths.sum()  # share of the total up to each file's end
        place = "on disk" if self.streaming else "in memory"
        logger.info("%s: %d files, %.1f min, %s", part, len(self.clips), self.seconds / 60, place)

    def _open(
        self, files: list[Path], label: str, opened: Callable[[Path, int], _Source | None]
    ) -> dict[Path, _Source]:
        """Each file that can be read and is not silent; a warning for each of the others."""
        found: dict[Path, _Source] = {}
        hidden = None if self.progress else True  # None: only on a terminal and in notebooks
        for path in tqdm(files, desc=label, unit="file", leave=False, disable=hidden):
            try:
                source = opened(path, self.sample_rate)
            except (ValueError, OSError) as error:
                logger.warning("%s: left out: %s", path.name, error)
                continue
            if source is not None and len(source):
                found[path] = source
        return found

    def crop(self, n_samples: int, rng: np.random.Generator, augment: Augmentation) -> np.ndarray:
        """One crop ``[n_samples]``, float32, peak at most 0.5.

        More than :data:`FAILED_AT_MOST` crops that cannot be read are a ValueError.
        """
        x = self._cut(n_samples, rng, augment)
        if rng.random() < augment.mix:
            level = 10 ** (rng.uniform(*augment.mix_db) / 20)
            x = x + level * self._cut(n_samples, rng, augment)
        x = colour(x, rng, augment, self.sample_rate)
        x = x - x.mean()
        gain_db = rng.uniform(*augment.gain_db) if rng.random() < augment.gain else 0.0
        scale = 0.5 * 10 ** (gain_db / 20) * rng.choice((-1.0, 1.0))
        return (to_full_scale(x) * scale).astype(np.float32)

    def _cut(self, n_samples: int, rng: np.random.Generator, augment: Augmentation) -> np.ndarray:
        """A random piece of a random file, perhaps at another speed; short files are padded."""
        x, factor = self._read(n_samples, rng, augment)
        if factor != 1.0:
            import soxr

            x = soxr.resample(x, factor * self.sample_rate, self.sample_rate, quality="MQ")
        x = np.pad(x[:n_samples], (0, max(0, n_samples - len(x))))
        return to_full_scale(x)

    def _read(
        self, n_samples: int, rng: np.random.Generator, augment: Augmentation
    ) -> tuple[np.ndarray, float]:
        """Samples of a random crop before any change, and the factor of its speed."""
        while True:
            index = int(np.searchsorted(self._until, rng.random(), side="right"))
            index = min(index, len(self.clips) - 1)
            clip = self.clips[index]
            factor = rng.uniform(*augment.speed_range) if rng.random() < augment.speed else 1.0
            wanted = round(n_samples * factor)
            start = int(rng.integers(0, max(1, len(clip) - wanted + 1)))
            self.drawn += 1
            try:
                return clip.read(start, start + wanted), factor
            except (ValueError, OSError) as error:
                self._note_failure(self.names[index], error)

    def _note_failure(self, name: str, error: Exception) -> None:
        """Warn once of each file with a crop that cannot be read; stop if there are many."""
        self.failed[name] += 1
        failed = self.failed.total()
        if failed > FAILED_AT_MOST * max(self.drawn, 100):
            names = ", ".join(name for name, _ in self.failed.most_common(5))
            raise ValueError(
                f"training data: {failed} of {self.drawn} crops could not be read, expected at "
                f"most {FAILED_AT_MOST:.0%}; take away or convert to wav: {names} (last reason: "
                f"{error})"
            ) from error
        if self.failed[name] == 1:
            logger.warning("%s: a crop cannot be read, others are drawn: %s", name, error)

    def batch(
        self,
        size: int,
        n_samples: int,
        rng: np.random.Generator,
        augment: Augmentation = USUAL_AUGMENTATION,
    ) -> torch.Tensor:
        """``[size, n_samples]`` float32 crops."""
        return torch.from_numpy(np.stack([self.crop(n_samples, rng, augment) for _ in range(size)]))


def _decode(path: Path, sample_rate: int) -> InMemory | None:
    """A whole file; None if there is no sound in it."""
    samples = InMemory(load_audio(path, sample_rate=sample_rate).samples)
    return samples if samples.peak > SILENT else None
