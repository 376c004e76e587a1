"""Find the streams of files that hold several, one after the other.

Radio recordings are chained Ogg files, and some files are several files concatenated. Decoders stop
after the first stream; :func:`find_streams` finds the others, :class:`Span` reads one as a file.

References
----------
.. [1] RFC 3533, the Ogg format. RFC 9639, FLAC.
.. [2] G. Bouvigne, http://gabriel.mp3-tech.org/mp3infotag.html: the Xing header of an MP3, with its
   numbers of frames and bytes.
"""

import io
import os
import re
import struct
from typing import Any, BinaryIO

SHORTEST = 1500  # bytes; less after the end of an MP3 is no stream (its largest frame is shorter)
FIRST_OGG_PAGE = rb"OggS\0[\x02\x06]"
FLAC_HEAD = rb"fLaC[\0\x80]\0\0\x22"
MP3_HEADER = rb"(Xing|Info|VBRI)"


class Span(io.RawIOBase):
    """A file object that reads the bytes ``start`` to ``stop`` of a file."""

    def __init__(self, path: str | os.PathLike[str], start: int, stop: int):
        self._file, self._start, self._size = io.FileIO(path), start, stop - start
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = (0, self._position, self._size)[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        self._file.seek(self._start + self._position)
        n_bytes = self._file.readinto(view)
        self._position += n_bytes
        return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()


def find_streams(path: str | os.PathLike[str]) -> list[int]:
    """Return the byte offsets at which the streams of a file begin.

    ``[0]`` for a file with one stream, and for unknown formats; MP3: :func:`find_mp3_streams`.
    """
    starts: list[int] = []
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            starts = _ogg_starts(file)
        elif head[:4] == b"fLaC":
            starts = _pattern_offsets(file, FLAC_HEAD)
        elif head[:4] == b"RIFF" and head[8:] == b"WAVE":
            starts = _chunk_starts(file, head, "<I")
        elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            starts = _chunk_starts(file, head, ">I")
    return starts or [0]


def find_mp3_streams(path: str | os.PathLike[str]) -> list[int] | None:
    """Return the offsets of the streams of an MP3; None if one has no header with its length."""
    starts: list[int] = []
    place, size = 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while not starts or size - place >= SHORTEST:
            starts.append(place)
            length = _mp3_length(file, place)
            if length is None:
                return None
            place = _skip_tags(file, place + length)
    return starts


def _pattern_offsets(file: BinaryIO, pattern: bytes) -> list[int]:
    """Return the offsets of ``pattern``, of at most 16 bytes, in a file of any length."""
    offsets, here, data = [], 0, b""
    file.seek(0)
    while more := file.read(2**20):
        data += more
        offsets += [here + match.start() for match in re.finditer(pattern, data)]
        here += max(0, len(data) - 15)
        data = data[-15:]
    return sorted(set(offsets))


def _ogg_starts(file: BinaryIO) -> list[int]:
    """Return the offsets of chained Ogg streams; multiplexed ones (sound, video) count once."""
    starts: list[int] = []
    page_end = None
    for place in _pattern_offsets(file, FIRST_OGG_PAGE):
        if place != page_end:  # multiplexed streams begin with adjacent pages
            starts.append(place)
        file.seek(place + 26)
        count = file.read(1)  # number of segments of the page
        lengths = file.read(count[0] if count else 0)
        page_end = place + 27 + len(lengths) + sum(lengths)
    return starts


def _chunk_starts(file: BinaryIO, head: bytes, layout: str) -> list[int]:
    """Return the offsets of concatenated WAV or AIFF files, by the lengths in their headers."""
    starts: list[int] = []
    place, here = 0, head
    while len(here) == 12 and (here[:4], here[8:]) == (head[:4], head[8:]):
        starts.append(place)
        (length,) = struct.unpack(layout, here[4:8])
        place += 8 + length + length % 2
        file.seek(place)
        here = file.read(12)
    return starts


def _mp3_length(file: BinaryIO, place: int) -> int | None:
    """Return the bytes of the MP3 stream at ``place`` with its ID3 tag; None without a header."""
    file.seek(place)
    head = file.read(10)
    tag = 0
    if head[:3] == b"ID3":  # its size is 4 bytes of 7 bits
        tag = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    file.seek(place + tag)
    data = file.read(4096)
    found = re.search(MP3_HEADER, data)
    if found is None:
        return None
    at = found.start()
    if found[0] == b"VBRI":
        n_bytes, frames = struct.unpack_from(">II", data.ljust(at + 18, b"\0"), at + 10)
    else:
        flags, frames, n_bytes = struct.unpack_from(">III", data.ljust(at + 16, b"\0"), at + 4)
        if flags & 3 != 3:
            return None
    # the frame begins before this header: 4 bytes, 2 for a checksum if any, "side information"
    begins = [at - n for n in (36, 21, 13, 38, 23, 15) if n <= at]
    begins = [begin for begin in begins if data[begin : begin + 2] >= b"\xff\xe0"]
    return tag + begins[0] + n_bytes if begins and frames and n_bytes else None


def _skip_tags(file: BinaryIO, place: int) -> int:
    """Return the offset after the tags, if any, that begin at ``place``, at the end of an MP3."""
    while True:
        file.seek(place)
        head = file.read(32)
        if head[:3] == b"TAG":
            place += 128
        elif head[:8] == b"APETAGEX":
            place += 32 + int.from_bytes(head[12:16], "little")
        else:
            return place
