"""What a fresh process costs: --help, the import, a first reconstruction.

python -m benchmarks.startup [--quick] [--json FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import Section, main, measure, seconds_text, table
from vaerecon.bundled import DEMO_CLIP, demo_clips


def start(*arguments: str) -> None:
    """Run a Python process of its own to its end."""
    subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, *arguments], check=True, capture_output=True
    )


def run(quick: bool = False) -> Section:
    """Wall times of whole processes."""
    clip = str(demo_clips()[DEMO_CLIP])
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "out")
        cold = ["-m", "vaerecon", "reconstruct", clip, "--max-length", "5", "--device", "cpu",
                "--output-dir", output]  # fmt: skip
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
        times |= measure(
            {"reconstruct a 5 s clip": lambda: start(*cold, "--exclude-metric", "visqol")},
            repeats=1 if quick else 3,
        )
    extra = times["import torch, vaerecon"].median - times["import torch"].median
    rows = [[name, seconds_text(timing)] for name, timing in times.items()]
    rows.append(["... import vaerecon over import torch", f"{extra:+.3f} s"])
    return Section(
        "Start-up",
        "python -m benchmarks.startup",
        "Whole processes, the tiny model, without ViSQOL. The files are in the system's cache.\n\n"
        + table(["", "wall time"], rows),
        {"seconds": {k: t.seconds for k, t in times.items()}, "import_over_torch": extra},
    )


if __name__ == "__main__":
    main(run)
