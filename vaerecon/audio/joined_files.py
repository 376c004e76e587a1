"""Files that hold several streams, one behind the other: where each of them begins.

Radio recordings are chained Ogg files, and people join files end to end. Decoders read the first
stream and stop; :func:`find_streams` finds the others, and :class:`Span` makes a file of each.

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

SHORTEST = 1500  # bytes behind the end of an MP3 that may be a stream: more than its largest frame
FIRST_OGG_PAGE = rb"OggS\0[\x02\x06]"
FLAC_HEAD = rb"fLaC[\0\x80]\0\0\x22"
MP3_HEADER = rb"(Xing|Info|VBRI)"


class Span(io.RawIOBase):
    """The bytes ``start`` to ``stop`` of a file, as a file to read."""

    def __init__(self, path: str | os.PathLike[str], start: int, stop: int):
        self._file, self._start, self._size = io.FileIO(path), start, stop - start
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        n_bytes = self._file.readinto(view)
        self._at += n_bytes
        return n_bytes

    def close(self) -> None:
        self._file.close()
        super().close()


def find_streams(path: str | os.PathLike[str]) -> list[int]:
    """Where the streams of a file begin: ``[0]`` for the usual file, and for unknown formats.

    For MP3 see :func:`find_mp3_streams`.
    """
    starts: list[int] = []
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            starts = _ogg_starts(file)
        elif head[:4] == b"fLaC":
            starts = _places(file, FLAC_HEAD)
        elif head[:4] == b"RIFF" and head[8:] == b"WAVE":
            starts = _chunk_starts(file, head, "<I")
        elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            starts = _chunk_starts(file, head, ">I")
    return starts or [0]


def find_mp3_streams(path: str | os.PathLike[str]) -> list[int] | None:
    """The same for an MP3; None where a stream has no header that tells how long it is."""
    starts: list[int] = []
    place, size = 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while not starts or size - place >= SHORTEST:
            starts.append(place)
            length = _mp3_length(file, place)
            if length is None:
                return None
            place = _behind_tags(file, place + length)
    return starts


def _places(file: BinaryIO, pattern: bytes) -> list[int]:
    """Where ``pattern``, of at most 16 bytes, stands in a file of any length."""
    found, here, data = [], 0, b""
    file.seek(0)
    while more := file.read(2**20):
        data += more
        found += [here + match.start() for match in re.finditer(pattern, data)]
        here += max(0, len(data) - 15)
        data = data[-15:]
    return sorted(set(found))


def _ogg_starts(file: BinaryIO) -> list[int]:
    """Of chained streams. Those beside one another (sound and picture) begin together."""
    starts: list[int] = []
    behind = None
    for place in _places(file, FIRST_OGG_PAGE):
        if place != behind:
            starts.append(place)
        file.seek(place + 26)
        count = file.read(1)  # of the pieces of the page
        lengths = file.read(count[0] if count else 0)
        behind = place + 27 + len(lengths) + sum(lengths)
    return starts


def _chunk_starts(file: BinaryIO, head: bytes, layout: str) -> list[int]:
    """Of WAV or AIFF: each says how long it is."""
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
    """Bytes of the stream at ``place``, its ID3 tag included; None where no header tells it."""
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
    # the frame begins before it: 4 bytes, perhaps 2 for a checksum, and the "side information"
    begins = [at - n for n in (36, 21, 13, 38, 23, 15) if n <= at]
    begins = [begin for begin in begins if data[begin : begin + 2] >= b"\xff\xe0"]
    return tag + begins[0] + n_bytes if begins and frames and n_bytes else None


def _behind_tags(file: BinaryIO, place: int) -> int:
    """The byte behind the tags that may stand at ``place``, at the end of an MP3."""
    while True:
        file.seek(place)
        head = file.read(32)
        if head[:3] == b"TAG":
            place += 128
        elif head[:8] == b"APETAGEX":
            place += 32 + int.from_bytes(head[12:16], "little")
        else:
            return place
