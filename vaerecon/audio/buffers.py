"""Intermediate results of a run, kept in memory or in files.

A track is a float32 array with a time axis: samples, a mel or a latent. It is written piece by
piece and read by sections, by the same methods whether it is in memory or in a file.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from vaerecon.audio.clip import SAMPLE_RATE, wav_header


class MemoryTrack:
    """A track in memory: a tensor that is read by sections of time."""

    def __init__(self, values: torch.Tensor, axis: int = -1):
        self.values, self.axis = values, axis

    @property
    def shape(self) -> torch.Size:
        """Shape of the whole track, e.g. ``[8, L, 16]``."""
        return self.values.shape

    def __len__(self) -> int:
        return self.values.shape[self.axis]

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Return the section from ``start`` to ``stop`` along time (a view)."""
        return self.values.narrow(self.axis, start, stop - start)


class FileTrack:
    """A track in a file: raw float32, time first, after an optional header.

    The file is not memory-mapped: mapped pages would count as memory of this process.
    """

    def __init__(self, path: Path, axis: int = -1, header: bytes = b""):
        self.path, self.axis, self._offset = path, axis, len(header)
        self._row: tuple[int, ...] = ()
        self._length = 0
        self._file = open(path, "w+b")  # noqa: SIM115 (closed by close)
        self._file.write(header)

    @property
    def shape(self) -> torch.Size:
        """Shape of the whole track, with time on ``axis``, e.g. ``[8, L, 16]``."""
        axis = self.axis % (len(self._row) + 1)
        return torch.Size([*self._row[:axis], self._length, *self._row[axis:]])

    def __len__(self) -> int:
        return self._length

    def append(self, piece: torch.Tensor) -> None:
        """Append ``piece`` along time."""
        # move the time axis to the front, so that a section is contiguous in the file
        rows = piece.movedim(self.axis, 0).to("cpu", torch.float32).contiguous()
        self._row = tuple(rows.shape[1:])
        self._file.seek(0, os.SEEK_END)
        self._file.write(rows.numpy().astype("<f4", copy=False).data)
        self._file.flush()  # raises here if the disk is full
        self._length += len(rows)

    def read(self, start: int, stop: int) -> torch.Tensor:
        """Return the section from ``start`` to ``stop`` along time."""
        width = int(np.prod(self._row))
        values = np.empty((stop - start, *self._row), "<f4")
        self._file.seek(self._offset + 4 * width * start)
        if self._file.readinto(values.data) != values.nbytes:
            raise OSError(f"{self.path.name}: ends before {stop}; was it changed during the run?")
        # move the time axis back from the front to `axis`
        return torch.from_numpy(values.astype(np.float32, copy=False)).movedim(0, self.axis)

    def close(self) -> None:
        """Close the file; it stays on disk."""
        self._file.close()


Track = MemoryTrack | FileTrack


class MemoryStore:
    """Keeps tracks in memory."""

    def keep(self, pieces: Iterable[torch.Tensor], axis: int = -1, **_: Any) -> MemoryTrack:
        """Store consecutive ``pieces`` as one track; ``axis`` is that of time."""
        parts = [piece.cpu() for piece in pieces]
        return MemoryTrack(parts[0] if len(parts) == 1 else torch.cat(parts, axis), axis)

    def release(self, track: Track) -> Track | None:
        """Mark ``track`` as no longer needed; in memory it stays available for the result."""
        return track


class FolderStore:
    """Keeps tracks in files, wav files in ``folder`` and others in ``scratch``; closes them."""

    def __init__(self, folder: Path, scratch: Path):
        self.folder, self.scratch = folder, scratch
        self._open: list[FileTrack] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for track in self._open:
            track.close()

    def keep(
        self,
        pieces: Iterable[torch.Tensor],
        axis: int = -1,
        wav: str | None = None,
        n_samples: int = 0,
    ) -> FileTrack:
        """Store ``pieces`` as one track; as the WAV file ``wav`` of ``n_samples`` if given."""
        if wav is None:
            track = FileTrack(self.scratch / f"{len(self._open)}.f32", axis)
        else:
            track = FileTrack(self.folder / wav, axis, wav_header(n_samples, SAMPLE_RATE))
        self._open.append(track)
        for piece in pieces:
            track.append(piece)
        return track

    def release(self, track: Track) -> Track | None:
        """Delete the file of a track that is no longer needed; always return None."""
        if isinstance(track, FileTrack):
            track.close()
            track.path.unlink()
        return None


Store = MemoryStore | FolderStore
