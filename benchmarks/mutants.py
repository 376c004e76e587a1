"""Small faults in the signal path, one at a time: does the nearest test notice?

python -m benchmarks.mutants [FILE ...]

Works on a copy of the checkout. A fault counts as found if its tests, which must pass without it,
fail with it. The list below is held to the code by ``tests/test_benchmarks.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.common import table
from vaerecon.utils.console import run_command

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = (".venv", ".git", "results", "reports", "build", "__pycache__", "*cache", "*.egg-info")


class Fault(NamedTuple):
    """A piece of text that stands once in a file, and what takes its place."""

    file: str  # in vaerecon/
    old: str
    new: str
    tests: str  # in tests/, files or tests of them, with spaces between: the nearest


# What the tests once let pass: methods that are others, a seed that is not used.
HYBRID = Fault(
    "methods.py", "return phase.refine(start, log_mel.to(start.device))", "return start",
    "test_methods.py",
)  # fmt: skip
ADMM = Fault("methods.py", "return phase.admm(start", "return phase.griffin_lim(start",
             "test_methods.py")  # fmt: skip
NOT_HELD = Fault(
    "methods.py", "log_mel=log_mel, n_iter=GRIFFIN_LIM_STEPS", "n_iter=GRIFFIN_LIM_STEPS",
    "test_methods.py",
)  # fmt: skip
NO_SEED = Fault(
    "pipeline/stages.py",
    "generator = torch.Generator().manual_seed(self.request.seed)",
    "generator = torch.Generator().manual_seed(0)",
    "pipeline/test_pipeline.py",
)

FAULTS = (
    HYBRID,
    ADMM,
    NOT_HELD,
    NO_SEED,
    Fault("audio/clip.py", "MARGIN = 1 ", "MARGIN = 0 ", "audio/test_audio.py"),
    Fault("audio/clip.py", "round(max_length * sample_rate)", "int(max_length * sample_rate)",
          "audio/test_audio.py"),
    Fault("audio/conversion.py", 'quality="VHQ"', 'quality="LQ"', "audio/test_audio.py"),
    Fault("audio/conversion.py", '"int16": 2.0**15', '"int16": 2.0**15 - 1', "audio/test_audio.py"),
    Fault("audio/joined_files.py", "byte << 7 * (3 - i)", "byte << 8 * (3 - i)",
          "audio/test_audio.py"),
    Fault("audio/samples.py", "torch.maximum(highest - mean, mean - lowest)",
          "torch.maximum(highest, -lowest)", "mel/test_mel.py"),
    Fault("audio/samples.py", "total += float(x.double().sum())", "total = float(x.double().sum())",
          "pipeline/test_length.py::test_the_level_in_sections"),
    Fault("mel/config.py", "self.n_fft // 2 - self.padding(framing)",
          'self.n_fft // 2 - self.padding("train")', "mel/test_mel.py phase/test_phase.py"),
    Fault("mel/config.py", '("vae out_channels", vae["out_channels"]',
          '("vae out_channels", vae["in_channels"]', "mel/test_mel.py"),
    Fault("mel/filters.py", "mel[:, band.mels].addmm_(rows[:, band.bins], band.filters)",
          "mel[:, band.mels] = rows[:, band.bins] @ band.filters", "mel/test_mel.py"),
    Fault("mel/front_end.py", 'mode="reflect"', 'mode="replicate"', "mel/test_mel.py"),
    Fault("mel/front_end.py", ".clamp_min(config.floor).log()", ".add(config.floor).log()",
          "mel/test_mel.py"),
    Fault("mel/front_end.py", "torch.hann_window(config.win_length,",
          "torch.hann_window(config.win_length, periodic=False,", "mel/test_mel.py"),
    Fault("phase/mel_inversion.py", "DETAIL = 0.9", "DETAIL = 0.5", "test_methods.py"),
    Fault("phase/mel_inversion.py", "filters.sum(dim=1, keepdim=True)",
          "filters.sum(dim=0, keepdim=True)", "phase/test_phase.py"),
    Fault("phase/mel_inversion.py", "0.0, x.exp())", "x.exp(), x.exp())", "phase/test_phase.py"),
    Fault("phase/projections.py", "TRUST = 0.97", "TRUST = 0.9", "test_methods.py"),
    Fault("phase/projections.py", "return signal.mul_(subset.inverse)",
          "return signal.mul_(subset.inverse.clamp_max(1))", "phase/test_phase.py"),
    Fault("phase/retrieval.py", "momentum: float = 0.95", "momentum: float = 0.9",
          "test_methods.py"),
    Fault("phase/solving.py", "clamp_(-1.5, 1.5)", "clamp_(-0.5, 0.5)", "test_methods.py"),
    Fault("phase/projections.py", "result[:, end] = signal[:, end]", "pass",
          "phase/test_phase.py test_methods.py"),
    Fault("streaming/stages.py", "[:, : (self.done - first) * HOP]", "[:, :0]",
          "streaming/test_stream.py"),
    Fault("streaming/stream.py", "grown.clamp_min(self._peak)", "grown.max()",
          "streaming/test_stream.py"),
    Fault("phase/retrieval.py", "rho: float = 0.1", "rho: float = 0.2", "test_methods.py"),
    Fault("mel/stft.py", "start = config.padding(framing)", 'start = config.padding("train")',
          "phase/test_phase.py"),
    Fault("mel/stft.py", "range(math.ceil(len(self.window) / self.hop))",
          "range(len(self.window) // self.hop)", "phase/test_phase.py"),
    Fault("phase/references.py", "random_state=seed", "random_state=0", "phase/test_phase.py"),
    Fault("phase/references.py", 'mode="edge"', 'mode="reflect"', "test_methods.py"),
    Fault("models/autoencoder.py", "shape[-2] % frames), value=config.log_floor)",
          "shape[-2] % frames), value=0.0)",
          "models/test_autoencoder.py"),
    Fault("models/autoencoder.py", "(0.5 * logvar).exp()", "logvar.exp()",
          "models/test_autoencoder.py"),
    Fault("models/vocoder.py", "mean()) + 0.5)", "mean()) - 0.5)", "models/test_vocoder.py"),
    Fault("models/vocoder.py", "first - 3, last + 3  # conv_post",
          "first - 2, last + 2  # conv_post", "models/test_vocoder.py"),
    Fault("models/fast_vocoder.py", "N_ITER = 16", "N_ITER = 15", "test_methods.py"),
    Fault("models/fast_vocoder.py", '(config["layers"] + 1) *', 'config["layers"] *',
          "models/test_fast_vocoder.py"),
    Fault("methods.py", "GRIFFIN_LIM_STEPS = 22", "GRIFFIN_LIM_STEPS = 21", "test_methods.py"),
    Fault("metrics/waveform.py", "scale**2 * ref.energy", "scale * ref.energy",
          "metrics/test_metrics.py"),
    Fault("metrics/spectral.py", "LSD_FLOOR = 1e-4", "LSD_FLOOR = 1e-5", "metrics/test_metrics.py"),
    Fault("metrics/spectral.py", "(1024, 120, 600)", "(1024, 128, 600)", "metrics/test_metrics.py"),
    Fault("metrics/perceptual.py", '"wb", on_error', '"nb", on_error', "metrics/test_metrics.py"),
    Fault("metrics/perceptual.py", "return 0.0 if _is_silent(est) else value", "return value",
          "metrics/test_metrics.py"),
    Fault("metrics/signals.py", "PEAK / ref.peak()", "PEAK / ref.peak(False)",
          "metrics/test_metrics.py"),
    Fault("metrics/signals.py", "min(i, longer)", "max(i, longer)", "metrics/test_metrics.py"),
    Fault("pipeline/stages.py", 'lag=models.needs["lag"]() if', "lag=0 if",
          "pipeline/test_pipeline.py"),
    Fault("pipeline/stages.py", "gain=1.0 / float(level.gain)", "gain=float(level.gain)",
          "pipeline/test_pipeline.py"),
    Fault("pipeline/joins.py", "ALIKE = 0.01", "ALIKE = 1.0", "utils/test_windows.py"),
    Fault("utils/windows.py", "torch.arange(fade, dtype=torch.float32) + 0.5", "torch.arange(fade)",
          "utils/test_windows.py"),
    Fault("utils/windows.py", "left < 2 * self.longest - self.overlap", "left < 2 * self.longest",
          "utils/test_windows.py"),
    Fault("pipeline/synthesis.py", "min(longest, len(sound))", "longest",
          "test_methods.py pipeline/test_pipeline.py"),
    Fault("pipeline/result.py", "self.clip.n_samples / self.latent_values",
          "self.clip.n_samples / self.ratio_to_mel", "pipeline/test_pipeline.py"),
    Fault("pipeline/result.py", "sums.index(max(sums))", "sums.index(min(sums))",
          "pipeline/test_length.py::test_the_picture_of_a_long_clip_says_what_it_shows"),
    Fault("audio/buffers.py", "self._offset + 4 * width * start", "4 * width * start",
          "pipeline/test_length.py::test_a_track_in_a_file_is_that_in_memory"),
)  # fmt: skip


@contextmanager
def planted(fault: Fault, root: Path) -> Iterator[None]:
    """Put a fault into the checkout at ``root`` for a while.

    Raises
    ------
    ValueError
        If its text does not stand there exactly once.
    """
    file = root / "vaerecon" / fault.file
    source = file.read_text(encoding="utf-8")
    count = source.count(fault.old)
    if count != 1:
        raise ValueError(f"{fault.file}: got {fault.old!r} {count} times, expected it once")
    file.write_text(source.replace(fault.old, fault.new), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(source, encoding="utf-8")


@contextmanager
def checkout_copy() -> Iterator[Path]:
    """A copy of this checkout, without what was built or measured in it."""
    with tempfile.TemporaryDirectory(prefix="vaerecon-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        yield copy


def failing_test(tests: str, root: Path) -> str | None:
    """The first of the tests that fails in the checkout at ``root``."""
    files = [f"tests/{name}" for name in tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not browser", *files]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)  # noqa: S603 (this Python, no shell)
    if done.returncode not in (0, 1):
        raise ValueError(f"{tests}: pytest ended with {done.returncode}: {done.stdout[-300:]}")
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    return found[1] if done.returncode else None


@click.command()
@click.argument("files", nargs=-1)
def main(files: tuple[str, ...]) -> None:
    """Put in the faults of FILES (default: all), run the nearest tests, print what was found."""
    chosen = [fault for fault in FAULTS if not files or fault.file in files]
    rows = []
    with checkout_copy() as copy:
        for fault in chosen:
            with planted(fault, copy):
                found = failing_test(fault.tests, copy)
            rows.append([fault.file, f"`{fault.old}` → `{fault.new}`", found or "**not found**"])
            click.echo(f"{len(rows)}/{len(chosen)} {' | '.join(rows[-1])}", err=True)
    click.echo(table(["file", "fault", "found by"], rows))
    missed = sum(row[2].startswith("**") for row in rows)
    click.echo(f"\n{len(rows) - missed} of {len(rows)} found.")


if __name__ == "__main__":
    run_command(main)
