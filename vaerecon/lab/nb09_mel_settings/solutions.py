"""Solutions to the exercises of ``09_mel_settings``, and their checks.

``check_x(answer)`` raises a ValueError with a hint if the answer is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vaerecon.lab.setup import by_exercise, check_answers, require
from vaerecon.mel.config import MelConfig

Point = tuple[float, float]  # values per second, score; higher scores are better


def values_per_second(config: MelConfig) -> float:
    """Exercise 1: numbers in a second of the mel."""
    return config.n_mels * config.sample_rate / config.hop_length


def front(points: Sequence[Point]) -> list[Point]:
    """Exercise 2: the points that none beats, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


def check_values_per_second(answer: Callable[..., float]) -> None:
    for options in ({}, {"n_mels": 80}, {"hop_length": 200}, {"n_fft": 768, "win_length": 768}):
        config = MelConfig(**options)
        found = answer(config)
        require(found == values_per_second(config), f"{options}: got {found}")


def check_front(answer: Callable[..., list[Point]]) -> None:
    points = [(2.0, 1.0), (1.0, 1.0), (3.0, 2.5), (3.0, 2.0), (4.0, 2.5), (5.0, 3.0)]
    found = [tuple(point) for point in answer(points)]
    require(found == front(points), f"got {found}: who has fewer values and no worse score, beats")


CHECKS = by_exercise(check_values_per_second, check_front)
check_exercises = partial(check_answers, CHECKS)
