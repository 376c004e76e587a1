"""Synthesized sounds: noises, drops, crackle, chirps, bells, hums, sung vowels, a beat.

Every function returns float64 samples ``[N]`` at 16 kHz, almost without DC and of any level. The
same generator state gives the same sound.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.signal import butter, sosfilt

from vaerecon.lab.nb05_fine_tuning.sounds import (
    RATE,
    chirps,
    damped_sine,
    rain,
    random_curve,
    scatter,
    struck,
    tilted_noise,
)

NYQUIST = RATE / 2


def band_noise(rng: Generator, n: int, low: float, high: float) -> np.ndarray:
    """Gaussian noise between ``low`` and ``high`` (Hz), 12 dB an octave outside."""
    band = (max(low, 20.0), min(high, NYQUIST * 0.98))
    sos = butter(1, band, btype="bandpass", fs=RATE, output="sos")
    return sosfilt(sos, rng.standard_normal(n))


def crackle(rng: Generator, n: int) -> np.ndarray:
    """Sparse snaps of very different strength over a low rumble, as of a fire."""

    def snap() -> np.ndarray:
        length = int(RATE * rng.uniform(0.002, 0.03))
        burst = band_noise(rng, length, rng.uniform(200, 1500), rng.uniform(2500, 7800))
        return 0.3 * rng.pareto(1.8) * burst * np.exp(-np.linspace(0, 6, length))

    snaps = scatter(rng, n, int(n / RATE * rng.uniform(4, 60)), snap)
    rumble = tilted_noise(rng, n, rng.uniform(4, 8)) * (0.3 + 0.7 * random_curve(rng, n, 3))
    return np.clip(snaps, -6, 6) + rumble * rng.uniform(0.02, 0.2)


def wind(rng: Generator, n: int) -> np.ndarray:
    """Noise in frequency bands whose weights change."""
    low = band_noise(rng, n, 60, 400)
    middle = band_noise(rng, n, 300, 1200)
    high = band_noise(rng, n, 1000, 5000)
    weight = random_curve(rng, n, 1.5)
    return low + middle * weight**2 * 2 + high * weight**4 * rng.uniform(0, 2)


def noise_bursts(rng: Generator, n: int) -> np.ndarray:
    """Bursts of filtered noise of 10 ms to 1 s, from thuds to hisses."""

    def burst() -> np.ndarray:
        length = int(RATE * 10 ** rng.uniform(-2, 0))
        low = 10 ** rng.uniform(1.5, 3.6)
        noise = band_noise(rng, length, low, low * rng.uniform(1.3, 8))
        attack = np.minimum(1, np.arange(length) / (RATE * 10 ** rng.uniform(-4, -1.5)))
        level, decay = rng.uniform(0.2, 1), np.linspace(1, 0, length) ** rng.uniform(0.5, 4)
        return level * noise * attack * decay

    return scatter(rng, n, int(n / RATE * rng.uniform(1, 8)) + 1, burst)


def clicks(rng: Generator, n: int) -> np.ndarray:
    """Ticks, regular or not, each a short resonance."""
    frequency, decay = rng.uniform(500, 6000), 10 ** rng.uniform(-3.7, -2)

    def click() -> np.ndarray:
        return rng.uniform(0.3, 1) * damped_sine(rng, frequency * rng.uniform(0.9, 1.1), decay)

    if rng.random() < 0.5:
        return scatter(rng, n, int(n / RATE * rng.uniform(2, 40)), click)
    out, step = np.zeros(n), int(RATE / rng.uniform(1, 12))
    for start in range(0, n, step):
        piece = click()[: n - start]
        out[start : start + len(piece)] += piece
    return out


def fm_tones(rng: Generator, n: int) -> np.ndarray:
    """Notes by frequency modulation: bells, brass, growls."""

    def tone() -> np.ndarray:
        length = int(RATE * rng.uniform(0.1, 2))
        t = np.arange(length) / RATE
        carrier, ratio = 10 ** rng.uniform(1.9, 3.2), rng.choice([0.5, 1, 1.4, 2, 2.76, 3, 3.5])
        envelope = np.exp(-t / rng.uniform(0.1, 1)) * np.minimum(1, t / 10 ** rng.uniform(-3, -1))
        index = rng.uniform(0.3, 6) * np.minimum(1, 2500 / (carrier * ratio)) * envelope
        wave = np.sin(2 * np.pi * carrier * t + index * np.sin(2 * np.pi * carrier * ratio * t))
        return rng.uniform(0.3, 1) * wave * envelope * np.minimum(1, (t[-1] - t) / 0.01)

    return scatter(rng, n, int(n / RATE * rng.uniform(1, 5)) + 1, tone)


def hum(rng: Generator, n: int) -> np.ndarray:
    """Motors and mains: a low harmonic series that flutters, with noise."""
    base = rng.uniform(35, 220) * (1 + 0.15 * (random_curve(rng, n, rng.uniform(0.2, 3)) - 0.5))
    phase = 2 * np.pi * np.cumsum(base) / RATE
    strength = rng.random(30) / np.arange(1, 31) ** rng.uniform(0.3, 1.5)
    out = sum(a * np.sin(k * phase + k) for k, a in enumerate(strength, 1))
    return out + rng.uniform(0, 0.5) * tilted_noise(rng, n, 4)


def vowels(rng: Generator, n: int) -> np.ndarray:
    """A sung line: harmonics with vibrato and breath under formants that move."""
    count = max(2, int(n / RATE * rng.uniform(1, 3)))
    steps = np.cumsum(rng.choice([-3, -2, -1, 0, 1, 2, 4], count))
    steps = np.clip(steps, -10, 10)
    note = np.repeat(steps, n // count + 1)[:n].astype(float)
    smooth = np.hanning(int(0.08 * RATE))
    # padded with its own ends, so that the line neither starts nor stops with a glide from zero
    note = np.convolve(np.pad(note, len(smooth), mode="edge"), smooth / smooth.sum(), "same")
    note = note[len(smooth) : len(smooth) + n]
    t = np.arange(n) / RATE
    vibrato = rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * t)
    f0 = 10 ** rng.uniform(1.95, 2.65) * 2 ** ((note + vibrato) / 12)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    size, rate = rng.uniform(0.9, 1.25), rng.uniform(1, 4)
    formants = [
        (size * (300 + 600 * random_curve(rng, n, rate)), 90, 1.0),
        (size * (900 + 1500 * random_curve(rng, n, rate)), 120, 0.6),
        (size * (2500 + 400 * random_curve(rng, n, rate)), 180, 0.3),
        (size * 3500, 250, 0.15),
    ]
    out = np.zeros(n)
    for k in range(1, int(min(60, 7500 / f0.max())) + 1):
        gain = sum(a / np.hypot(1, (k * f0 - centre) / width) for centre, width, a in formants)
        out += gain / k**0.5 * np.sin(k * phase)
    breath = band_noise(rng, n, 1500, 6000) * rng.uniform(0.005, 0.1)
    loud = np.minimum(1, 3 * random_curve(rng, n, rate)) ** 2
    return (out + breath) * loud


SOUNDS: tuple[Callable[[Generator, int], np.ndarray], ...] = (
    rain, crackle, wind, noise_bursts, clicks, chirps, fm_tones, struck, hum, vowels,
)  # fmt: skip


# ------------------------------------------------------------------------------ treatment


def room(rng: Generator, samples: np.ndarray) -> np.ndarray:
    """The sound in a random room: direct sound and a decaying, darkening noise as its echo."""
    seconds = rng.uniform(0.08, 0.8)
    n = int(seconds * RATE)
    decay = np.exp(-6.9 * np.arange(n) / n)  # 60 dB
    bright, dark = rng.standard_normal(n) * decay**2, tilted_noise(rng, n, 4) * decay
    echo = (bright + dark) * rng.uniform(0.02, 0.15) / np.sqrt(seconds)
    echo[: int(0.004 * RATE)] = 0
    echo[0] = 1
    size = len(samples) + n
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[: len(samples)]


def equalise(rng: Generator, samples: np.ndarray) -> np.ndarray:
    """The sound through a random smooth frequency response (4 dB rms), as of a microphone."""
    spectrum = np.fft.rfft(samples)
    frequency = np.maximum(np.fft.rfftfreq(len(samples), 1 / RATE), 30.0)
    knots = np.geomspace(30, NYQUIST, 8)
    response = np.interp(np.log(frequency), np.log(knots), rng.normal(0, 4, 8))  # dB
    return np.fft.irfft(spectrum * 10 ** (response / 20), len(samples))


# ------------------------------------------------------------------------------ the demo's beat


def _white(n: int, seed: int) -> np.ndarray:
    """Uniform noise in -1..1 from the raw bits of PCG64, the same in all NumPy versions."""
    return np.random.PCG64(seed).random_raw(n).astype(np.float64) / 2.0**63 - 1.0


def _saw(frequency: float, cutoff: np.ndarray, resonance: float) -> np.ndarray:
    """A band-limited sawtooth through a 24 dB low-pass with a bump, harmonic by harmonic."""
    t = np.arange(len(cutoff)) / RATE
    out = np.zeros(len(cutoff))
    for k in range(1, int(7600 / frequency) + 1):
        ratio = k * frequency / cutoff
        gain = (1 + resonance * np.exp(-((ratio - 1) ** 2) / 0.05)) / (1 + ratio**4)
        out += gain * np.sin(2 * np.pi * k * frequency * t) / k
    return out


def _add(track: np.ndarray, seconds: float, piece: np.ndarray) -> None:
    """Add a piece to a track at a time, cut at the track's end."""
    start = round(seconds * RATE)
    piece = piece[: len(track) - start]
    track[start : start + len(piece)] += piece


def _drums(kick: np.ndarray, hats: np.ndarray, clap: np.ndarray, beat: float, bars: int) -> None:
    """Fill the tracks of the drums; ``beat`` in seconds."""
    t = np.arange(int(0.3 * RATE)) / RATE
    thump = np.sin(2 * np.pi * (48 * t + 6.5 * (1 - np.exp(-t / 0.025)))) * np.exp(-t / 0.11)
    high_pass = butter(2, 5500, btype="highpass", fs=RATE, output="sos")
    middle = butter(1, (900, 3500), btype="bandpass", fs=RATE, output="sos")
    for i in range(4 * bars + 1):
        _add(kick, i * beat, thump)
        if i % 2 == 1:
            burst = sosfilt(middle, _white(len(t), 1000 + i))
            _add(clap, i * beat, burst * np.exp(-t / 0.07))
    for i in range(16 * bars):
        open_hat = i % 4 == 2
        hiss = sosfilt(high_pass, _white(len(t), i)) * np.exp(-t / (0.06 if open_hat else 0.016))
        _add(hats, i / 4 * beat, hiss * (0.9 if open_hat else 0.45 + 0.2 * (i % 2 == 0)))


def electronic(tempo: float = 128.0, bars: int = 3) -> np.ndarray:
    """Kick, hats, clap, bass, an arpeggio with an opening filter, and a final chord."""
    beat = 60 / tempo
    n = round((4 * bars + 0.75) * beat * RATE)
    t = np.arange(n) / RATE
    kick, hats, clap, bass, arpeggio = np.zeros((5, n))
    _drums(kick, hats, clap, beat, bars)
    # A minor, F, G: the bass plays off the beat, the arpeggio in sixteenths
    roots, chords = (55.0, 43.65, 49.0), ((0, 3, 7, 12, 15), (0, 4, 7, 12, 16), (0, 4, 7, 12, 14))
    for i in range(16 * bars):
        bar = i // 16 % 3
        length = int(0.25 * beat * RATE * 0.95)
        edge = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 60)
        if i % 4 != 0:
            cut = np.linspace(900, 250, length)
            _add(bass, i / 4 * beat, _saw(roots[bar], cut, 0.5) * edge)
        step = chords[bar][(0, 2, 1, 3, 2, 4, 3, 1)[i % 8]]
        ring = int(0.5 * beat * RATE)
        fade = np.exp(-np.arange(ring) / (0.12 * RATE)) * np.minimum(1, np.arange(ring) / 40)
        fade *= np.minimum(1, np.arange(ring)[::-1] / 100)
        sweep = 500 * 12 ** (i / (16 * bars))  # 0.5 to 6 kHz over the whole clip
        note = _saw(8 * roots[bar] * 2 ** (step / 12), np.full(ring, sweep), 1.5)
        _add(arpeggio, i / 4 * beat, note * fade)
    chord = np.exp(-np.arange(n) / (0.12 * RATE)) * np.minimum(1, np.arange(n) / 40)
    for frequency in (110.0, 220.0, 220.0 * 2 ** (3 / 12), 220.0 * 2 ** (7 / 12)):
        _add(arpeggio, 4 * bars * beat, 0.7 * _saw(frequency, 300 + 6000 * chord**0.5, 0.5) * chord)
    echo = round(0.75 * beat * RATE)
    arpeggio[echo:] += 0.35 * arpeggio[:-echo]
    ducking = 1 - 0.6 * np.exp(-(t % beat) / 0.09)  # the kick pushes bass and arpeggio back
    return kick + 0.22 * hats + 0.5 * clap + (0.33 * bass + 0.3 * arpeggio) * ducking
