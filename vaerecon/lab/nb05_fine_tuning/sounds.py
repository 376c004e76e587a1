"""Three kinds of synthesized sound, training data of notebook ``05_fine_tuning``.

Each is float64 samples ``[N]`` at 16 kHz of any level. ``tools/synthetic_corpus`` has more kinds.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

RATE = 16000  # Hz


def tilted_noise(rng: Generator, n: int, slope: float) -> np.ndarray:
    """Gaussian noise whose spectrum falls by ``slope`` decibels an octave (white 0, pink 3)."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 30.0)
    return np.fft.irfft(spectrum * (frequency / 1000) ** (-slope / 6.02), n)


def random_curve(rng: Generator, n: int, per_second: float) -> np.ndarray:
    """A smooth random curve ``[n]`` in 0..1, with ``per_second`` turning points."""
    knots = rng.random(max(2, int(n / RATE * per_second) + 2))
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)


def scatter(rng: Generator, n: int, count: int, grain: Callable[[], np.ndarray]) -> np.ndarray:
    """``count`` grains at random places; ``grain()`` returns one as samples."""
    out = np.zeros(n)
    for start in rng.integers(0, n, count):
        piece = grain()[: n - start]
        out[start : start + len(piece)] += piece
    return out


def damped_sine(rng: Generator, frequency: float, decay: float, glide: float = 0.0) -> np.ndarray:
    """A damped sine: ``decay`` seconds to 1/e, pitch falling from ``1 + glide`` times."""
    t = np.arange(int(decay * 6 * RATE) + 1) / RATE
    phase = frequency * (t + glide * decay * (1 - np.exp(-t / decay)))
    return np.sin(2 * np.pi * phase + rng.uniform(0, 2 * np.pi)) * np.exp(-t / decay)


def rain(rng: Generator, n: int) -> np.ndarray:
    """A hiss made of very many drops, with single drops in front."""
    hiss = tilted_noise(rng, n, rng.uniform(-1, 4)) * (0.6 + 0.4 * random_curve(rng, n, 2))

    def drop() -> np.ndarray:
        gain, frequency = rng.exponential(), rng.uniform(800, 7000)
        return gain * damped_sine(rng, frequency, rng.uniform(5e-4, 6e-3), 0.1)

    drops = scatter(rng, n, int(n / RATE * rng.uniform(20, 400)), drop)
    return hiss * rng.uniform(0.1, 1) + drops


def chirps(rng: Generator, n: int) -> np.ndarray:
    """Gliding tones of 50 ms to 2 s, up, down or trilled: birds, sirens, sweeps."""

    def chirp() -> np.ndarray:
        length = int(RATE * 10 ** rng.uniform(-1.3, 0.3))
        t = np.linspace(0, 1, length)
        first, last = 10 ** rng.uniform(2.2, 3.8, 2)
        depth, rate = rng.choice([0.0, 0.05]), rng.uniform(5, 40) * length / RATE
        frequency = first * (last / first) ** t * (1 + depth * np.sin(2 * np.pi * rate * t))
        phase = 2 * np.pi * np.cumsum(np.minimum(frequency, 7600)) / RATE
        return rng.uniform(0.2, 1) * np.sin(phase) * np.sin(np.pi * t) ** rng.uniform(0.3, 2)

    return scatter(rng, n, int(n / RATE * rng.uniform(0.7, 6)) + 1, chirp)


def struck(rng: Generator, n: int) -> np.ndarray:
    """Struck bodies: a few damped partials and a thud each; drums, wood, glass, bells."""
    bodies = []
    for _ in range(int(rng.integers(1, 4))):
        ratios = np.sort(rng.uniform(1, 8, int(rng.integers(1, 8))))
        bodies.append((10 ** rng.uniform(1.8, 3.3), ratios, 10 ** rng.uniform(-1.7, -0.2)))
    glide = float(rng.choice([0.0, 0.0, 0.3, 1.0]))

    def stroke() -> np.ndarray:
        frequency, ratios, decay = bodies[rng.integers(len(bodies))]
        frequency = frequency * rng.uniform(0.97, 1.03)
        out = damped_sine(rng, frequency, decay, glide)
        for ratio in ratios[ratios * frequency < 7500]:
            partial = damped_sine(rng, frequency * ratio, decay / ratio)
            out[: len(partial)] += rng.uniform(0.1, 0.8) * partial
        thud = int(0.02 * RATE)
        out[:thud] += rng.uniform(0, 0.6) * rng.standard_normal(thud) * np.linspace(1, 0, thud) ** 2
        return rng.uniform(0.2, 1) * out

    return scatter(rng, n, int(n / RATE * rng.uniform(1.5, 9)) + 1, stroke)
