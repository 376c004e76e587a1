"""Sounds that the tests share, made here, and the rule for tests whose program is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from vaerecon.audio.clip import Clip

SKIPPED = "Skipped: needs "
REQUIRE_ALL = "VAERECON_REQUIRE_ALL"  # set in the environment: nothing may be missing


def is_installed(name: str) -> bool:
    """Whether a program is on the PATH, a package can be imported, or the soundfont is there."""
    if name == "fluid-soundfont-gm":
        from tools.synthetic_corpus.synthesis import SOUNDFONT

        return Path(SOUNDFONT).is_file()
    return shutil.which(name) is not None or find_spec(name) is not None


@pytest.hookimpl(tryfirst=True)  # before the fixtures, which may need it too
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``needs("name", ...)`` where one of the names is not installed."""
    need(*(name for mark in item.iter_markers("needs") for name in mark.args))


def need(*names: str) -> None:
    """Skip the test that calls it where one of ``names`` is not installed."""
    missing = [name for name in dict.fromkeys(names) if not is_installed(name)]
    if missing:
        stop = pytest.fail if os.environ.get(REQUIRE_ALL) else pytest.skip
        stop(f"needs {', '.join(missing)}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """At the very end, one line that counts these skips by the name of what is missing."""
    yield
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    skipped = [reason.split("needs ")[1] for reason in reasons if reason.startswith(SKIPPED)]
    if skipped:
        counts = Counter(name for names in skipped for name in names.split(", "))
        text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"{len(skipped)} skipped for what is not installed: {text}")


def make_sound(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A chord with an attack, a sweep and some noise, ``[N]`` float32 at 16 kHz, peak 0.4."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(16000 * seconds)) / 16000
    chord = sum(np.sin(2 * np.pi * f * t + p) for f, p in ((220, 0.1), (331, 1.0), (553, 2.0)))
    sweep = np.sin(2 * np.pi * (300 * t + 900 * t**2))
    decay = np.exp(-3 * (t % 0.4))
    x = decay * chord + 0.5 * sweep + 0.05 * rng.standard_normal(len(t))
    return (0.4 * x / np.abs(x).max()).astype(np.float32)


def run_as_user(command: list, variable: str | None = None, **options):
    """Run a program with at most one of the variables of threads, set to 1."""
    from vaerecon.comparison.workers import THREAD_VARIABLES

    env = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    env |= {variable: "1"} if variable else {}
    return subprocess.run([*map(str, command)], env=env, capture_output=True, text=True,
                          timeout=600, **options)  # fmt: skip


def write_flac(path: Path, samples: int, rate: int, total: int) -> None:
    """A sound under a header that says it has ``total`` samples; 0 means unknown."""
    import soundfile

    soundfile.write(path, make_sound(samples / 16000)[:samples], rate)
    data = path.read_bytes()
    head = int.from_bytes(data[18:26], "big") & ~(2**36 - 1) | total
    path.write_bytes(data[:18] + head.to_bytes(8, "big") + data[26:])


@pytest.fixture(scope="session")
def sound() -> np.ndarray:
    """One second of :func:`make_sound`."""
    return make_sound()


@pytest.fixture(scope="session")
def clip(sound) -> Clip:
    """The same as a clip."""
    return Clip(sound, 16000, "chord")


@pytest.fixture(scope="session")
def tiny():
    """The bundled model, loaded once."""
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
    pipe.set_progress_bar_config(disable=True)
    return pipe
