"""Entropy coding with tables of frequencies: range asymmetric numeral systems (rANS).

Integer arithmetic only, so that every machine decodes the same numbers. A symbol with ``size`` of
the 65,536 parts of its table costs ``16 - log2(size)`` bits; a stream has at most 6 bytes more.
Reference: J. Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

import numpy as np

PARTS = 1 << 16  # sum of the frequencies of a table
START = 1 << 32  # lowest state; the highest is below 65,536 times that


class Table:
    """Frequencies of the numbers ``-reach`` to ``reach``.

    The symbols ``reach`` and ``-reach`` are escapes: the next symbol is added, for larger numbers.
    """

    def __init__(self, sizes: np.ndarray):
        self.reach = len(sizes) // 2
        self.sizes, self.starts = sizes.tolist(), (np.cumsum(sizes) - sizes).tolist()
        self.symbol_at = np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes).tobytes()


def encode(starts: Sequence[int], sizes: Sequence[int]) -> bytes:
    """Encode symbols, each given by its first part and its number of parts, to a stream."""
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
    """Convert bytes to big-endian numbers of 16 bits."""
    words = array("H", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words


def decode(words: array[int], place: int, tables: Sequence[Table]) -> tuple[list[int], int]:
    """Decode the stream that begins at ``place``: one number per table, and the stream's end.

    Raises ValueError if the stream is damaged or truncated.
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
    if state != START:  # the encoder's initial state
        raise ValueError("vrec: the coded stream is damaged or cut short")
    return numbers, place
