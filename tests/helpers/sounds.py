"""Sounds that the tests share, and files of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile

from vaerecon.audio.decoding import find_ffmpeg


def make_sound(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A chord with an attack, a sweep and some noise, ``[N]`` float32 at 16 kHz, peak 0.4."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(16000 * seconds)) / 16000
    chord = sum(np.sin(2 * np.pi * f * t + p) for f, p in ((220, 0.1), (331, 1.0), (553, 2.0)))
    sweep = np.sin(2 * np.pi * (300 * t + 900 * t**2))
    decay = np.exp(-3 * (t % 0.4))
    x = decay * chord + 0.5 * sweep + 0.05 * rng.standard_normal(len(t))
    return (0.4 * x / np.abs(x).max()).astype(np.float32)


def sine(seconds: float, rate: int, hz: float = 440.0, phase: float = 0.7) -> np.ndarray:
    """A sine of amplitude 0.5, ``[N]`` float64."""
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)


def noise(n: int, seed: int = 0) -> np.ndarray:
    """White noise of deviation 0.1, ``[n]`` float64."""
    return 0.1 * np.random.default_rng(seed).standard_normal(n)


def ffmpeg(*arguments: str | Path) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def write_flac(path: Path, samples: int, rate: int, total: int) -> None:
    """A sound under a header that says it has ``total`` samples; 0 means unknown."""
    soundfile.write(path, make_sound(samples / 16000)[:samples], rate)
    data = path.read_bytes()
    head = int.from_bytes(data[18:26], "big") & ~(2**36 - 1) | total
    path.write_bytes(data[:18] + head.to_bytes(8, "big") + data[26:])
