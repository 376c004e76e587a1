"""Folders of audio, of any size and rate, as a source of augmented training crops.

A collection that fits into memory is decoded once to 16 kHz mono and kept as 16-bit integers (about
115 MB an hour). A larger one stays on disk and each crop is decoded when it is drawn, in some
milliseconds. Both give the same crops for the same random draws, up to the rounding to 16 bits.

A crop is drawn from a file with probability proportional to its length, then augmented: speed (and
with it pitch), spectrum, a second source, polarity and level.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from tqdm.auto import tqdm

from vaerecon.audio.clip import SAMPLE_RATE, load_audio, stream_audio
from vaerecon.audio.paths import check_path, left_out, sounds_below
from vaerecon.training.data.augmentation import USUAL, Augmentation, colour, to_full_scale

logger = logging.getLogger(__name__)
_warn_once = lru_cache(maxsize=256)(logger.warning)  # both parts of a corpus look for files

MEMORY_LIMIT = 2.0  # GB; a larger collection is read from disk crop by crop
HELD_OUT = 0.06  # share of the files that are kept for validation
SILENT = 1e-4  # peak below which a file is left out
FAILED_AT_MOST = 0.05  # of the crops, or of the first 100, that cannot be read; then training stops


def _hash_share(name: str) -> float:
    """A number in 0..1 from the SHA-256 of ``name``."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def held_out(name: str) -> bool:
    """Whether the file called ``name`` belongs to the validation part, decided by its hash."""
    return _hash_share(name) < HELD_OUT


def split(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Training and validation files, by :func:`held_out`; at least one of each, else ValueError."""
    if len(files) < 2:
        raise ValueError("training data: got one file, expected at least two (one is kept for "
                         "validation); cut it in two, or add more")  # fmt: skip
    names = {f.name for f in files}
    chosen = {name for name in names if held_out(name)}
    if not chosen or chosen == names:
        chosen = {min(names, key=_hash_share)}
    if chosen == names:
        raise ValueError(f"training data: all files are called {files[0].name!r}, expected "
                         "different names (they decide which are kept for validation)")  # fmt: skip
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
            raise ValueError(f"training data: got {str(folder)!r}, expected a folder with audio "
                             f"files (.wav, .flac, .mp3, .m4a, ...){left_out(others)}")  # fmt: skip
        if others:
            _warn_once(f"{folder}{left_out(others)}")
        files += sorted(found)
    return files


class InMemory:
    """A decoded file as 16-bit integers at full scale; empty if it is silent."""

    def __init__(self, path: Path):
        samples = load_audio(path).samples
        self.path, self.peak = path, float(np.abs(samples).max())
        if self.peak <= SILENT:
            samples = samples[:0]
        self.samples = np.round(samples / max(self.peak, SILENT) * 32767).astype(np.int16)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The section as float32, perhaps shorter."""
        return self.samples[start:stop].astype(np.float32) * np.float32(self.peak / 32767)


class OnDisk:
    """A file of which only the crops that are drawn are decoded."""

    def __init__(self, path: Path):
        self.path = path
        with stream_audio(path) as sound:
            # without a length in the header, all is decoded
            self.length = round((sound.seconds or 0) * SAMPLE_RATE) or sum(map(len, sound.blocks))

    def __len__(self) -> int:
        return self.length

    def read(self, start: int, stop: int) -> np.ndarray:
        """The same; a ValueError or an OSError if it cannot be decoded."""
        return load_audio(self.path, (stop - start) / SAMPLE_RATE, start / SAMPLE_RATE).samples


Source = InMemory | OnDisk


class Corpus:
    """Audio, and random crops of it.

    ``folders`` are searched recursively. ``part`` is ``"train"`` or ``"validation"`` (about 6 % of
    the files, at least one, chosen by a hash of their names: new files do not change the split).
    More than ``memory_limit`` GB of 16-bit samples stay on disk. A ValueError if there are too few
    files, or none can be read.
    """

    def __init__(
        self, folders: Sequence[Path], part: str = "train", memory_limit: float = MEMORY_LIMIT,
        progress: bool = True,
    ):  # fmt: skip
        files = split(find_audio(folders))[part == "validation"]
        # headers only: what does not fit is never decoded as a whole
        self.clips = _open(files, f"measuring {part} audio", OnDisk, progress)
        self.streaming = 2 * sum(map(len, self.clips)) / 1e9 > memory_limit
        if not self.streaming:
            readable = [clip.path for clip in self.clips]
            self.clips = _open(readable, f"reading {part} audio", InMemory, progress)
        self.drawn = 0  # crops, whether they could be read or not
        self.failed: Counter[str] = Counter()  # crops that could not be read, by file
        lengths = np.array([len(clip) for clip in self.clips], dtype=np.float64)
        if not lengths.sum():
            raise ValueError(f"training data: no file of the {part} part could be read or has any "
                             "sound; see the warnings above")  # fmt: skip
        self.seconds = float(lengths.sum()) / SAMPLE_RATE
        self._until = np.cumsum(lengths) / lengths.sum()  # share of the total up to each file's end
        place = "on disk" if self.streaming else "in memory"
        logger.info("%s: %d files, %.1f min, %s", part, len(self.clips), self.seconds / 60, place)

    def crop(self, n_samples: int, rng: np.random.Generator, augment: Augmentation) -> np.ndarray:
        """One crop ``[n_samples]``, float32, peak at most 0.5; ValueError if too many fail."""
        x = self._cut(n_samples, rng, augment)
        if rng.random() < augment.mix:
            level = 10 ** (rng.uniform(*augment.mix_db) / 20)
            x = x + level * self._cut(n_samples, rng, augment)
        x = colour(x, rng, augment, SAMPLE_RATE)
        x = x - x.mean()
        gain_db = rng.uniform(*augment.gain_db) if rng.random() < augment.gain else 0.0
        scale = 0.5 * 10 ** (gain_db / 20) * rng.choice((-1.0, 1.0))
        return (to_full_scale(x) * scale).astype(np.float32)

    def _cut(self, n_samples: int, rng: np.random.Generator, augment: Augmentation) -> np.ndarray:
        """A random piece of a random file, perhaps at another speed; short files are padded."""
        while True:  # until one can be read
            index = int(np.searchsorted(self._until, rng.random(), side="right"))
            clip = self.clips[min(index, len(self.clips) - 1)]
            factor = rng.uniform(*augment.speed_range) if rng.random() < augment.speed else 1.0
            wanted = round(n_samples * factor)
            start = int(rng.integers(0, max(1, len(clip) - wanted + 1)))
            self.drawn += 1
            try:
                x = clip.read(start, start + wanted)
                break
            except (ValueError, OSError) as error:
                self._note_failure(clip.path.name, error)
        if factor != 1.0:
            x = soxr.resample(x, factor * SAMPLE_RATE, SAMPLE_RATE, quality="MQ")
        return to_full_scale(np.pad(x[:n_samples], (0, max(0, n_samples - len(x)))))

    def _note_failure(self, name: str, error: Exception) -> None:
        """Warn once of each file with a crop that cannot be read; stop if there are many."""
        self.failed[name] += 1
        failed = self.failed.total()
        if failed > FAILED_AT_MOST * max(self.drawn, 100):
            names = ", ".join(name for name, _ in self.failed.most_common(5))
            raise ValueError(f"training data: {failed} of {self.drawn} crops could not be read, "
                             f"expected at most {FAILED_AT_MOST:.0%}; take away or convert to wav: "
                             f"{names} (last reason: {error})") from error  # fmt: skip
        if self.failed[name] == 1:
            logger.warning("%s: a crop cannot be read, others are drawn: %s", name, error)

    def batch(
        self, size: int, n_samples: int, rng: np.random.Generator, augment: Augmentation = USUAL
    ) -> torch.Tensor:
        """``[size, n_samples]`` float32 crops."""
        return torch.from_numpy(np.stack([self.crop(n_samples, rng, augment) for _ in range(size)]))


def _open(files: list[Path], label: str, kind: type[Source], progress: bool) -> list[Source]:
    """Each file that has sound; a warning for each one that cannot be read."""
    found: list[Source] = []
    hidden = None if progress else True  # None: only on a terminal and in notebooks
    for path in tqdm(files, desc=label, unit="file", leave=False, disable=hidden):
        try:
            source = kind(path)
        except (ValueError, OSError) as error:
            logger.warning("%s: left out: %s", path.name, error)
            continue
        if len(source):
            found.append(source)
    return found


class Batches:
    """Draws the batch of a step, of any step, from a generator seeded by the step's number.

    So a resumed run draws the same batches, and ``workers`` threads can draw ahead (0, to draw on
    demand, is best where the CPU also trains). ``process`` is the number of the process: each of
    several GPUs has its own batches.
    """

    def __init__(
        self, draw: Callable[[np.random.Generator], Any], seed: int, process: int = 0,
        workers: int = 0,
    ):  # fmt: skip
        self.draw, self.key, self.workers = draw, (seed, process), workers
        self.pool = ThreadPoolExecutor(workers, "batches") if workers else None
        self.coming: dict[int, Future[Any]] = {}

    def __getitem__(self, step: int) -> Any:
        if self.pool is None:
            return self._drawn(step)
        for ahead in range(step, step + self.workers + 1):
            if ahead not in self.coming:
                self.coming[ahead] = self.pool.submit(self._drawn, ahead)
        return self.coming.pop(step).result()

    def _drawn(self, step: int) -> Any:
        return self.draw(np.random.default_rng((*self.key, step)))

    def torch_seed(self, step: int) -> int:
        """Seed of torch's own draws (a posterior's noise) in a step."""
        sequence = np.random.SeedSequence((*self.key, step, 1))
        return int(sequence.generate_state(1, np.uint64)[0] >> 1)

    def close(self) -> None:
        """Stop drawing ahead."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.coming.clear()
