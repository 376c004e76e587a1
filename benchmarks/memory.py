"""How much memory the models take: AudioLDM2's sizes with random weights, and tiny.

    python -m benchmarks.memory [--quick] [--json FILE]

Each row is a process of its own that runs `reconstruct` from file to file, through the VAE and back
by the vocoder, in float32 (on CUDA in bfloat16). On the CPU its own peak of resident memory counts,
which begins with Python and the libraries; on CUDA what torch has allocated at most. PESQ and
ViSQOL, which need no model, are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import Section, main, table
from benchmarks.length import SLOW_METRICS, clip_paths, load_pipeline, peak_memory, write_sound

# model, seconds of sound, seconds of a window (--chunk-seconds)
CASES = (
    ("tiny", 30, 30),
    ("full size", 10, 30),
    ("full size", 30, 30),
    ("full size", 30, 8),
)


def run_one(sound: str, output: str, full_size: bool, chunk: float, device: str) -> None:
    """What a process of its own does; prints bytes as JSON."""
    import torch

    libraries = peak_memory()
    pipe = load_pipeline(full_size)
    pipe.chunk_seconds = chunk
    if device == "cuda":
        pipe = pipe.to("cuda", torch.bfloat16)
    loaded = torch.cuda.memory_allocated() if device == "cuda" else peak_memory()
    pipe.reconstruct_file(sound, output, "vocoder", without_vae=False, exclude_metrics=SLOW_METRICS)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_memory()
    print(json.dumps({"libraries": libraries, "loaded": loaded, "peak": peak}))  # noqa: T201


def measure_case(model: str, seconds: float, chunk: float, device: str) -> dict[str, Any]:
    """One case in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        write_sound(sound, clip_paths(None), seconds)
        arguments = (str(sound), str(Path(folder) / "out"), model != "tiny", chunk, device)
        code = f"from benchmarks.memory import run_one; run_one(*{arguments!r})"
        done = subprocess.run(  # noqa: S603 (this Python, no shell)
            [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True
        )
    case = {"device": device, "model": model, "seconds": seconds, "chunk": chunk}
    return case | json.loads(done.stdout.splitlines()[-1])


def run(quick: bool = False) -> Section:
    """Every case on the CPU, and on CUDA where there is one."""
    import torch

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    cases = CASES[:2] if quick else CASES
    found = [measure_case(*case, device) for device in devices for case in cases]
    rows = [
        [f["device"], f["model"], f"{f['seconds']} s", f"{f['chunk']} s",
         f"{f['loaded'] / 1e9:.2f} GB", f"{f['peak'] / 1e9:.2f} GB"]
        for f in found
    ]  # fmt: skip
    header = ["device", "model", "sound", "windows of", "models loaded", "peak"]
    text = (
        f"Python with torch and the libraries takes {found[0]['libraries'] / 1e9:.2f} GB before a "
        f"model is loaded; on the CPU that is part of every number.\n\n{table(header, rows)}"
    )
    if devices == ["cpu"]:
        text += "\n\nWithout rows for CUDA: torch sees no such device here."
    return Section("Memory", "python -m benchmarks.memory", text, {"cases": found})


if __name__ == "__main__":
    main(run)
