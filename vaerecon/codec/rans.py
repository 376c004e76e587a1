"""Numbers to bits by tables of frequencies, and back: range asymmetric numeral systems.

Integers only, so that every machine reads the same numbers. What takes ``size`` of the 65,536 parts
of its table costs ``16 - log2(size)`` bits; a stream is at most 6 bytes longer than their sum.
Reference: J. Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

import numpy as np

PARTS = 1 << 16  # of each table
START = 1 << 32  # the state is between this and 65,536 times as much


class Table:
    """Frequencies of the numbers ``-reach`` to ``reach``.

    ``reach`` and ``-reach`` mean that the next number is to be added: larger ones take several.
    """

    def __init__(self, sizes: np.ndarray):
        self.reach = len(sizes) // 2
        self.sizes, self.starts = sizes.tolist(), (np.cumsum(sizes) - sizes).tolist()
        self.symbol_at = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes).tobytes()


def encode(starts: Sequence[int], sizes: Sequence[int]) -> bytes:
    """A stream of symbols, each given by the first of its parts and by how many it has."""
    state, words = START, array("H")
    for start, size in zip(reversed(starts), reversed(sizes), strict=True):
        if state >= size << 32:
            words.append(state % PARTS)
            state >>= 16
        state = (state // size << 16) + state % size + start
    words.extend((state % PARTS, (state >> 16) % PARTS, state >> 32))
    words.reverse()
    return to_words(words.tobytes()).tobytes()


def to_words(data: bytes) -> array[int]:
    """Bytes to numbers of 16 bits, the higher byte first."""
    words = array("H", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words


def decode(words: array[int], place: int, tables: Sequence[Table]) -> tuple[list[int], int]:
    """The numbers, one for each table, of the stream that begins at ``place``, and where it ends.

    ValueError if the stream is damaged or cut short.
    """
    numbers, state = [], 0
    try:
        for word in range(place, place + 3):
            state = state << 16 | words[word]
        place += 3
        for table in tables:
            value, reach = 0, table.reach
            while True:
                part = state % PARTS
                symbol = table.symbol_at[part]
                state = table.sizes[symbol] * (state >> 16) + part - table.starts[symbol]
                if state < START:
                    state = state << 16 | words[place]
                    place += 1
                value += symbol - reach
                if 0 < symbol < 2 * reach:
                    break
            numbers.append(value)
    except IndexError:
        state = 0
    if state != START:  # as it was before the first symbol
        raise ValueError("vrec: the coded stream is damaged or cut short")
    return numbers, place
