"""What a run keeps on its way: in memory, or in files that are written and read piece by piece.

A track is an array of float32 along time: samples, a mel, a latent. It grows by pieces and is read
by sections, so that the code that makes and uses one need not know where it is.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from vaerecon.audio.clip import SAMPLE_RATE, wav_header


class MemoryTrack:
    """A tensor, read by sections of time."""

    def __init__(self, values: torch.Tensor, axis: int = -1):
        self.values, self.axis = values, axis

    @property
    def shape(self) -> torch.Size:
        """Of the whole."""
        return self.values.shape

    def __len__(self) -> int:
        return self.values.shape[self.axis]

    def read(self, start: int, stop: int) -> torch.Tensor:
        """The section from ``start`` to ``stop`` (a view)."""
        return self.values.narrow(self.axis, start, stop - start)


class FileTrack:
    """The same in a file: raw float32, time first, behind an optional header.

    No memory map: mapped pages would count as this program's memory.
    """

    def __init__(self, path: Path, axis: int = -1, header: bytes = b""):
        self.path, self.axis, self._offset = path, axis, len(header)
        self._row: tuple[int, ...] = ()
        self._length = 0
        self._file = open(path, "w+b")  # noqa: SIM115 (closed by close)
        self._file.write(header)

    @property
    def shape(self) -> torch.Size:
        """Of the whole, time in its place."""
        place = self.axis % (len(self._row) + 1)
        return torch.Size([*self._row[:place], self._length, *self._row[place:]])

    def __len__(self) -> int:
        return self._length

    def append(self, piece: torch.Tensor) -> None:
        """Add ``piece`` at the end."""
        # time to the front, whatever its place, so that a section is one stretch of the file
        rows = piece.movedim(self.axis, 0).to("cpu", torch.float32).contiguous()
        self._row = tuple(rows.shape[1:])
        self._file.seek(0, os.SEEK_END)
        self._file.write(rows.numpy().astype("<f4", copy=False).data)
        self._file.flush()  # a full disk shows here
        self._length += len(rows)

    def read(self, start: int, stop: int) -> torch.Tensor:
        """The section from ``start`` to ``stop``."""
        width = int(np.prod(self._row))
        values = np.empty((stop - start, *self._row), "<f4")
        self._file.seek(self._offset + 4 * width * start)
        if self._file.readinto(values.data) != values.nbytes:
            raise OSError(f"{self.path.name}: ends before {stop}; was it changed during the run?")
        # time from the front to its place
        return torch.from_numpy(values.astype(np.float32, copy=False)).movedim(0, self.axis)

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()


Track = MemoryTrack | FileTrack


class MemoryStore:
    """Keeps tracks in memory."""

    def keep(self, pieces: Iterable[torch.Tensor], axis: int = -1, **_: Any) -> MemoryTrack:
        """A track of ``pieces``, in order."""
        kept = [piece.cpu() for piece in pieces]
        return MemoryTrack(kept[0] if len(kept) == 1 else torch.cat(kept, axis), axis)

    def release(self, track: Track) -> Track | None:
        """Say that the run needs ``track`` no more: in memory it stays, for the result."""
        return track


class FolderStore:
    """Keeps tracks in files: wav files in ``folder``, the rest in ``scratch``; closes them."""

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
        """A track of ``pieces``; the sound file ``wav`` of ``n_samples`` if that is named."""
        if wav is None:
            track = FileTrack(self.scratch / f"{len(self._open)}.f32", axis)
        else:
            track = FileTrack(self.folder / wav, axis, wav_header(n_samples, SAMPLE_RATE))
        self._open.append(track)
        for piece in pieces:
            track.append(piece)
        return track

    def release(self, track: Track) -> Track | None:
        """Delete a file that the run needs no more; gives what is left, None."""
        if isinstance(track, FileTrack):
            track.close()
            track.path.unlink()
        return None


Store = MemoryStore | FolderStore
