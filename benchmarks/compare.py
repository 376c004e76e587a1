"""What a clip costs in ``vaerecon compare``: 10, 100 and 1,000 short ones, one worker and two.

    python -m benchmarks.compare [FOLDER] [--seconds 1] [--quick] [--json FILE]

Every count of clips is measured through the command line, from a cold start, in an empty folder:
the whole time that somebody waits, divided by the clips. Sections of ``--seconds`` are cut from the
sounds in FOLDER (the bundled clips by default). The metrics are all but ViSQOL and PESQ, whose
cost is not the table's. Two workers can be up to twice as fast, if they have a core each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import soundfile as sf

from benchmarks.common import Section, table, write_json
from vaerecon.audio.clip import SAMPLE_RATE, load_audio
from vaerecon.bundled import FOLDER as BUNDLED
from vaerecon.comparison.clips import find_clips
from vaerecon.utils.console import run_command

COUNTS = (10, 100, 1000)
OPTIONS = ("--methods", "griffinlim", "--exclude-metric", "visqol", "--exclude-metric", "pesq-wb")


def cut_sections(sounds: Path, target: Path, count: int, seconds: float) -> None:
    """Write ``count`` different sections of the sounds, as 16-bit wav, into a new folder."""
    clips = [load_audio(file.path).samples for file in find_clips(sounds)]
    n_samples = round(seconds * SAMPLE_RATE)
    clips = [np.resize(clip, max(len(clip), n_samples)) for clip in clips]  # repeats short ones
    rng = np.random.default_rng(0)
    target.mkdir()
    for i in range(count):
        clip = clips[i % len(clips)]
        start = rng.integers(0, len(clip) - n_samples + 1)
        sf.write(target / f"{i:04}.wav", clip[start : start + n_samples], SAMPLE_RATE)


def time_command(clips: Path, output: Path, workers: int) -> float:
    """Seconds that the command takes from start to end."""
    command = [sys.executable, "-m", "vaerecon", "compare", str(clips), "--output", str(output)]
    started = time.perf_counter()
    subprocess.run(  # noqa: S603 (a list of arguments, no shell)
        [*command, "--workers", str(workers), *OPTIONS], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def run(quick: bool = False, sounds: Path = BUNDLED / "clips", seconds: float = 1.0) -> Section:
    """Measure, smallest count first."""
    rows, numbers = [], []
    counts = COUNTS[:2] if quick else COUNTS
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            clips = Path(place, str(count))
            cut_sections(sounds, clips, count, seconds)
            wall = {}
            for workers in (1, 2):
                output = Path(place, f"{count} {workers}.parquet")
                wall[workers] = time_command(clips, output, workers)
            numbers.append(
                {
                    "clips": count,
                    "seconds_one_worker": wall[1],
                    "seconds_two_workers": wall[2],
                    "per_clip_one_worker": wall[1] / count,
                    "per_clip_two_workers": wall[2] / count,
                    "speed_up": wall[1] / wall[2],
                }
            )
            rows.append(
                [str(count)]
                + [f"{wall[workers]:.1f} s" for workers in wall]
                + [f"{wall[workers] / count:.3f} s" for workers in wall]
                + [f"{wall[1] / wall[2]:.2f}"]
            )
    few, many = numbers[0], numbers[-1]
    marginal = {
        workers: (many[f"seconds_{workers}"] - few[f"seconds_{workers}"])
        / (many["clips"] - few["clips"])
        for workers in ("one_worker", "two_workers")
    }
    head = ["clips", "one worker", "two workers", "a clip, one", "a clip, two", "speed-up"]
    text = (
        f"Clips of {seconds:g} s; Griffin-Lim and silence, with and without the VAE; all metrics "
        f"but ViSQOL and PESQ; cold starts.\n\n{table(head, rows)}\n\nOne clip more costs "
        f"{marginal['one_worker']:.3f} s with one worker, {marginal['two_workers']:.3f} s with "
        f"two: {marginal['one_worker'] / marginal['two_workers']:.2f} times as fast without the "
        "start."
    )
    return Section(
        "Many clips to one table",
        "python -m benchmarks.compare",
        text,
        {"rows": numbers, "seconds_per_further_clip": marginal},
    )


@click.command(help=(__doc__ or "").split("\n")[0])
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--seconds", default=1.0, show_default=True, help="Length of each clip.")
@click.option("--quick", is_flag=True, help="10 and 100 clips only.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="All numbers.")
def main(folder: Path | None, seconds: float, quick: bool, json_path: Path | None) -> None:
    """Print the table, and write the numbers."""
    section = run(quick, folder or BUNDLED / "clips", seconds)
    click.echo(section.markdown())
    if json_path:
        write_json(json_path, {section.title: section})


if __name__ == "__main__":
    run_command(main)
