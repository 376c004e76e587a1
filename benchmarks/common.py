"""What all benchmarks share: repeats in turns, the machine, tables, and one shape of result.

A benchmark is a module with ``run(quick: bool) -> Section`` and, as its last two lines,

    if __name__ == "__main__":
        main(run)

so that ``python -m benchmarks.NAME [--quick] [--json FILE]`` prints its table. ``python -m
benchmarks`` calls every ``run`` and writes them all to one page.

What is compared takes turns (A, B, A, B, ...), because a machine's speed drifts; the median is
what counts, and the spread (slowest minus fastest, over the median) says how far to trust it.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

SHORT = 0.05  # s; calls below it are timed several at once
PAUSE = 0.1  # s before each timed call: pools of threads spin for a while after their work
PACKAGES = ("torch", "numpy", "librosa", "diffusers", "transformers")


@dataclass(frozen=True)
class Timing:
    """Repeats of one call, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle repeat; of an even count, the mean of the middle two."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Slowest less fastest, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


@dataclass(frozen=True)
class Section:
    """What one benchmark found: Markdown to read, numbers to keep."""

    title: str
    command: str  # that gives it again
    text: str  # Markdown: tables, and what they leave out
    numbers: dict[str, Any] = field(default_factory=dict)  # plain JSON values

    def markdown(self) -> str:
        """The section as it stands on the page."""
        return f"## {self.title}\n\n`{self.command}`\n\n{self.text.strip()}\n"


def measure(
    calls: dict[str, Callable[[], object]],
    repeats: int = 5,
    warm_up: bool = True,
    lone: bool = True,
) -> dict[str, Timing]:
    """Time every call ``repeats`` times, in turns, after one call or two that do not count.

    Calls that take less than :data:`SHORT` are made several times in their turn, the first of them
    uncounted, and their mean is taken, as ``timeit`` does: a clock, a cache and a core that slept
    cost as much as they. On a GPU a call must wait for its own result (:func:`synchronized`).

    Python's garbage collector has its defaults. If ``lone``, it does not see what is there already:
    a call pays for what it makes itself, not for the libraries that its peers have loaded. With
    ``False`` it looks through those too, as in the scripts of people who load the same ones.
    """
    if repeats < 1:
        raise ValueError(f"repeats: got {repeats}, expected at least 1")
    threshold = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    if lone:
        gc.freeze()
    try:
        return _measure(calls, repeats, warm_up)
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def _measure(
    calls: dict[str, Callable[[], object]], repeats: int, warm_up: bool
) -> dict[str, Timing]:
    times = dict.fromkeys(calls, 1)  # calls in a turn
    if warm_up:
        for name, call in calls.items():
            if _seconds(call) < SHORT:
                times[name] = max(1, round(SHORT / _seconds(call)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(PAUSE)
            if times[name] > 1:
                call()
            seconds[name].append(_seconds(call, times[name]))
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _seconds(call: Callable[[], object], times: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times


def ratio(slow: Timing, fast: Timing) -> tuple[float, float, float]:
    """How many times faster: the median over the turns, and the least and the most."""
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ratio_text(values: tuple[float, float, float]) -> str:
    """``15.2 (14.8 to 15.9)``."""
    return "{:.3g} ({:.3g} to {:.3g})".format(*values)


def seconds_text(timing: Timing) -> str:
    """``0.123 s, spread 4 %``."""
    unit, scale = ("ms", 1e3) if timing.median < 0.1 else ("s", 1.0)
    return f"{timing.median * scale:.3g} {unit}, spread {timing.spread:.0%}"


@cache
def matmul_rate(dtype: str = "float32", device: str = "cpu") -> float:
    """Multiply-adds a second of a large matrix product: what the arithmetic units can do at best.

    The fastest of ten products of 2048 x 2048 matrices (8192 on a GPU) with the threads in use now,
    as a product and as the convolution that is one: two libraries, either of which may be slow on
    one processor or another.
    """
    import torch

    size = 8192 if device.startswith("cuda") else 2048
    a = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
    with torch.inference_mode():
        signal, kernels = a[None], a[:, :, None]  # [1, C, T] and [C, C, 1]
        times = measure(
            {
                "product": synchronized(lambda: a @ a, device),
                "convolution": synchronized(
                    lambda: torch.nn.functional.conv1d(signal, kernels), device
                ),
            },
            repeats=10,
        )
    return size**3 / min(min(timing.seconds) for timing in times.values())


def multiply_adds(call: Callable[[], object]) -> int:
    """Multiply-adds of ``call``'s matrix products, convolutions and attention, as torch counts."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2  # torch counts a multiplication and an addition as two


def percent_of_limit(macs: int, seconds: float, dtype: str = "float32", device: str = "cpu") -> str:
    """Time that the multiply-adds alone would take at :func:`matmul_rate`, as share of ``seconds``.

    100 % is a program that does nothing but the counted products, at the rate of large matrices.
    """
    return f"{macs / matmul_rate(dtype, device) / seconds:.0%}"


@cache
def fft_seconds(frames: int = 256, n_fft: int = 1024) -> tuple[float, float]:
    """Seconds a frame of the real FFT and of its inverse, at best: one thread, in the cache.

    The limit of what transforms every frame once and spends its time on nothing else.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            x = torch.randn(frames, n_fft)
            spectrum = torch.fft.rfft(x)
            times = measure(
                {
                    "forward": lambda: torch.fft.rfft(x),
                    "inverse": lambda: torch.fft.irfft(spectrum, n=n_fft),
                },
                repeats=10,
            )
    finally:
        torch.set_num_threads(threads)
    forward, inverse = (min(timing.seconds) / frames for timing in times.values())
    return forward, inverse


def synchronized(call: Callable[[], object], device: str) -> Callable[[], object]:
    """``call``, returning only when the device has finished."""
    if not device.startswith("cuda"):
        return call
    import torch

    def and_wait() -> object:
        result = call()
        torch.cuda.synchronize(device)
        return result

    return and_wait


def sound(seconds: float) -> Any:
    """The bundled clips one after another, over and over: ``[N]`` float32 numpy, peak 0.5."""
    import numpy as np

    from vaerecon.audio.clip import SAMPLE_RATE, load_audio
    from vaerecon.bundled import demo_clips

    clips = np.concatenate([load_audio(path).samples for path in demo_clips().values()])
    n_samples = round(seconds * SAMPLE_RATE)
    samples = np.tile(clips, -(-n_samples // len(clips)))[:n_samples]
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def machine() -> dict[str, Any]:
    """What the numbers depend on; nothing that names the machine or its user."""
    import torch

    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    if hasattr(os, "getloadavg"):
        facts["load_before"] = round(os.getloadavg()[0], 2)  # processes that wanted a core already
    return facts | {name: version(name) for name in PACKAGES}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        fields = dict(
            (part.strip() for part in line.split(":", 1))
            for line in info.read_text().splitlines()
            if ":" in line
        )
        name, flags = fields.get("model name", ""), fields.get("flags", "").split()
        known = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
        if name:
            return f"{name} ({', '.join(known)})" if known else name
    return platform.processor() or platform.machine()


def write_json(path: Path, sections: dict[str, Section]) -> None:
    """All numbers, with the machine, to ``path``."""
    content = {"machine": machine(), "sections": {k: asdict(s) for k, s in sections.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def make_command(run: Callable[[bool], Section]) -> click.Command:
    """The command line of one benchmark."""

    @click.command(help=(sys.modules["__main__"].__doc__ or "").split("\n")[0])
    @click.option("--quick", is_flag=True, help="Fewer repeats and shorter clips.")
    @click.option("--json", "json_path", type=click.Path(path_type=Path), help="All numbers.")
    def command(quick: bool, json_path: Path | None) -> None:
        section = run(quick)
        click.echo(section.markdown())
        if json_path:
            write_json(json_path, {section.title: section})

    return command


def main(run: Callable[[bool], Section]) -> None:
    """Run the command line of one benchmark."""
    make_command(run)()
