"""Solutions to the exercises of ``09_mel_settings``, and their checks."""

import math
from collections.abc import Callable, Sequence

from vaerecon.lab.setup import exercises, require, require_close
from vaerecon.mel.config import MelConfig

Point = tuple[float, float]  # values per second, score; higher scores are better


def resolution(config: MelConfig) -> tuple[float, float]:
    """Exercise 1: the length of the window, in s, and the spacing of the STFT bins, in Hz."""
    return config.win_length / config.sample_rate, config.sample_rate / config.n_fft


def shortest_hop(config: MelConfig, budget: float) -> int:
    """Exercise 2: the shortest hop, in samples, with at most ``budget`` values a second."""
    return math.ceil(config.n_mels * config.sample_rate / budget)


def front(points: Sequence[Point]) -> list[Point]:
    """Exercise 3: the points that none beats, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


def check_resolution(answer: Callable[..., tuple[float, float]]) -> None:
    for size in (512, 1024):
        config = MelConfig(n_fft=size, win_length=size)
        found = answer(config)
        require(len(found) == 2, f"expected two numbers, got {len(found)}")
        for got, want, what in zip(found, resolution(config), ("window", "spacing"), strict=True):
            require_close(float(got), want, f"{what} at n_fft {size}")


def check_shortest_hop(answer: Callable[..., int]) -> None:
    for n_mels, budget in ((64, 6400), (80, 6400), (96, 7000)):
        found = answer(MelConfig(n_mels=n_mels), budget)
        want = shortest_hop(MelConfig(n_mels=n_mels), budget)
        require_close(found, want, f"{n_mels} bins, {budget} values a second")


def check_front(answer: Callable[..., list[Point]]) -> None:
    points = [(2.0, 1.0), (1.0, 1.0), (3.0, 2.5), (3.0, 2.0), (4.0, 2.5), (5.0, 3.0)]
    found = [tuple(point) for point in answer(points)]
    require(found == front(points), f"got {found}: who has fewer values and no worse score, beats")


CHECKS, check_exercises = exercises(check_resolution, check_shortest_hop, check_front)
