"""What a fresh process costs: --help, the import, a first reconstruction.

python -m benchmarks.startup [--quick] [--json FILE]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.common import Section, main, measure, seconds_text, table
from vaerecon.bundled import DEMO_CLIP, demo_clips

IMPORTS = (
    "import torch, matplotlib; from diffusers import AutoencoderKL; "
    "from transformers import SpeechT5HifiGan"
)


def start(*arguments: str) -> None:
    """Run a Python process of its own to its end."""
    subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, *arguments], check=True, capture_output=True
    )


def beside_imports(repeats: int) -> list[list[str]]:
    """Rows: cold runs, and their ratios to what importing their libraries alone takes.

    In turns; CPU time counts all threads. On a busy machine it says more than the wall time.
    """
    clip = str(demo_clips()[DEMO_CLIP])
    with tempfile.TemporaryDirectory() as folder:
        output = ["--device", "cpu", "--output-dir", str(Path(folder) / "out")]
        commands = {
            "import the libraries": ["-c", IMPORTS],
            "reconstruct a 5 s clip": [
                "-m", "vaerecon", clip, "--max-length", "5", "--exclude-metric", "visqol", *output,
            ],
            "demo, with ViSQOL": ["-m", "vaerecon", "demo", *output],
        }  # fmt: skip
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                before, started = os.times(), time.perf_counter()
                start(*command)
                wall, after = time.perf_counter() - started, os.times()
                cpu = sum(after[2:4]) - sum(before[2:4])  # of child processes: user, system
                seconds[name].append((wall, cpu))
    walls = {name: median(wall for wall, _ in found) for name, found in seconds.items()}
    cpus = {name: median(cpu for _, cpu in found) for name, found in seconds.items()}
    first = next(iter(commands))
    return [
        [name, f"{walls[name]:.2f} s", f"{walls[name] / walls[first]:.2f}",
         f"{cpus[name]:.2f} s", f"{cpus[name] / cpus[first]:.2f}"]
        for name in commands
    ]  # fmt: skip


def run(quick: bool = False) -> Section:
    """Wall times of whole processes; of cold runs CPU times too."""
    times = measure(
        {
            "python": lambda: start("-c", "pass"),
            "vaerecon --help": lambda: start("-m", "vaerecon", "--help"),
            "import torch": lambda: start("-c", "import torch"),
            "import vaerecon": lambda: start("-c", "import vaerecon"),
            "import torch, vaerecon": lambda: start("-c", "import torch, vaerecon"),
        },
        repeats=3 if quick else 7,
    )
    extra = times["import torch, vaerecon"].median - times["import torch"].median
    cold = beside_imports(repeats=1 if quick else 5)
    rows = [[name, seconds_text(timing)] for name, timing in times.items()]
    rows.append(["... import vaerecon over import torch", f"{extra:+.3f} s"])
    return Section(
        "Start-up",
        "python -m benchmarks.startup",
        "Whole processes, the tiny model. The files are in the system's cache.\n\n"
        + table(["", "wall time"], rows)
        + "\n\nMedians; ratios to importing torch, diffusers' AutoencoderKL, transformers' "
        "SpeechT5HifiGan and matplotlib alone. CPU time is that of all threads.\n\n"
        + table(["", "wall time", "ratio", "CPU time", "ratio"], cold),
        {"seconds": {k: t.seconds for k, t in times.items()}, "import_over_torch": extra,
         "beside_imports": cold},
    )  # fmt: skip


if __name__ == "__main__":
    main(run)
