"""What length costs: peak memory and seconds per second of audio, and what windows do to the VAE.

    python -m benchmarks.length [--minutes 2,10,60] [--methods vocoder,griffinlim] [--full-size]
                                [--all-metrics] [--folder DIR] [--vae-only] [--json FILE]

Each length runs from file to file in a fresh process, whose own peak of resident memory is what is
reported. The sound is the bundled clips (or those of a folder) over and over, at varying level.
PESQ and ViSQOL, which take longer than everything else, are left out unless asked for.

Then the VAE over one minute, whole and in windows: its log-mel error, and the error at the seams
(where one window passes into the next) beside that elsewhere.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import Section, table, write_json
from vaerecon.audio.clip import SAMPLE_RATE, load_audio, wav_header
from vaerecon.lab.nb03_vocoder_fix.faults import AUDIOLDM2_SIZES as FULL_VOCODER
from vaerecon.utils.console import run_command

SLOW_METRICS = ("pesq_wb", "visqol")
VAE_SECONDS = 60
SUFFIXES = {".flac", ".wav", ".ogg", ".mp3"}
# AudioLDM2's vae/ and vocoder/, as far as they differ from the classes' defaults
FULL_VAE = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [128, 256, 512],
    "layers_per_block": 2,
    "latent_channels": 8,
}


def clip_paths(folder: Path | None) -> list[Path]:
    """The bundled clips, or the sound files of a folder."""
    from vaerecon.bundled import demo_clips

    if folder is None:
        return list(demo_clips().values())
    paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
    if not paths:
        raise click.UsageError(f"got {folder.name!r} without audio, expected {sorted(SUFFIXES)}")
    return paths


def sounds(paths: list[Path]) -> Iterator[np.ndarray]:
    """Up to 10 s of each clip in turn, without end, each time at another level."""
    clips = [load_audio(path, max_length=10).samples for path in paths]
    for turn in itertools.count():
        for i, samples in enumerate(clips):
            yield samples * np.float32(0.4 + 0.6 * ((turn + 2 * i) % 5) / 4)


def write_sound(path: Path, paths: list[Path], seconds: float) -> None:
    """A WAV file of that length, written piece by piece."""
    left = round(seconds * SAMPLE_RATE)
    with open(path, "wb") as file:
        file.write(wav_header(left))
        for samples in sounds(paths):
            file.write(samples[:left].tobytes())
            left -= len(samples)
            if left <= 0:
                return


def load_pipeline(full_size: bool):
    """``tiny``, or random weights of AudioLDM2's architecture."""
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    if not full_size:
        pipe = ReconstructionPipeline.from_pretrained("tiny", device="cpu")
    else:
        import torch
        from diffusers import AutoencoderKL
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

        torch.manual_seed(0)
        pipe = ReconstructionPipeline(
            AutoencoderKL(**FULL_VAE).eval(),
            SpeechT5HifiGan(SpeechT5HifiGanConfig(**FULL_VOCODER)).eval(),
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would begin with that of the parent process
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_one(sound: str, output: str, methods: str, full_size: bool, metrics: bool) -> None:
    """What a process of its own does: reconstruct, and print what it took as JSON."""
    pipe = load_pipeline(full_size)
    before = peak_memory()
    started = time.perf_counter()
    found = pipe.reconstruct_file(
        sound, output, methods, exclude_metrics=() if metrics else SLOW_METRICS
    )
    seconds = time.perf_counter() - started
    groups = {"": found.methods, " without VAE": found.without_vae}
    numbers = {
        "duration": found.clip.duration,
        "seconds": seconds,
        "peak": peak_memory(),
        "loaded": before,
        "synthesis": {
            name + suffix: result.seconds
            for suffix, group in groups.items()
            for name, result in group.items()
        },
    }
    click.echo(json.dumps(numbers))


def measure_lengths(
    minutes: list[float], paths: list[Path], methods: str, full_size: bool, metrics: bool
) -> list[dict[str, Any]]:
    """One process per length; seconds, peak memory and the length of each."""
    results = []
    for length in minutes:
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "sound.wav"
            write_sound(sound, paths, 60 * length)
            arguments = (str(sound), str(Path(folder) / "results"), methods, full_size, metrics)
            code = f"from benchmarks.length import run_one; run_one(*{arguments!r})"
            done = subprocess.run(  # noqa: S603 (this Python, no shell)
                [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True
            )
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return results


def length_table(results: list[dict[str, Any]]) -> str:
    """Markdown: memory and time of each length, beside those of the shortest."""
    first = results[0]
    rows = []
    for result in results:
        cost, of_first = (r["seconds"] / r["duration"] for r in (result, first))
        rows.append(
            [
                f"{result['duration'] / 60:g} min",
                f"{result['peak'] / 1e6:.0f} MB",
                f"{result['peak'] / first['peak']:.2f}",
                f"{result['seconds']:.1f} s",
                f"{cost:.4f}",
                f"{cost / of_first:.2f}",
            ]
        )
    header = ["length", "peak memory", "ratio", "time", "s per s of audio", "ratio"]
    return table(header, rows)


def measure_vae(paths: list[Path], chunks: tuple[float, ...] = (30, 15, 8)) -> list[dict[str, Any]]:
    """The VAE's error over a minute, whole (first) and in windows."""
    import torch

    from vaerecon.mel.config import AUDIOLDM_MEL
    from vaerecon.mel.front_end import log_mel
    from vaerecon.models.autoencoder import decode, encode, reduction
    from vaerecon.utils.windows import plan_windows

    pipe = load_pipeline(full_size=False)
    n_samples = VAE_SECONDS * SAMPLE_RATE
    pieces, total = [], 0
    for samples in sounds(paths):
        pieces.append(samples)
        total += len(samples)
        if total >= n_samples:
            break
    mel = log_mel(np.concatenate(pieces)[:n_samples])
    rate = AUDIOLDM_MEL.frames_per_second
    results: list[dict[str, Any]] = []
    whole = None
    for seconds in (float(VAE_SECONDS), *chunks):
        started = time.perf_counter()
        latent = encode(pipe.vae, mel, chunk_seconds=seconds)
        decoded = decode(pipe.vae, latent, chunk_seconds=seconds)
        took = time.perf_counter() - started
        error = (decoded - mel).abs().mean(dim=-1)
        whole = decoded if whole is None else whole
        unit = reduction(pipe.vae)
        plan = plan_windows(seconds, rate / unit)
        seam = torch.zeros(len(mel), dtype=torch.bool)
        start, n_positions = 0, len(mel) // unit
        while plan.stop(start, n_positions) < n_positions:
            start = plan.stop(start, n_positions) - plan.overlap
            fade = (start + plan.margin) * unit
            seam[fade : fade + plan.fade * unit] = True
        results.append(
            {
                "chunk": seconds,
                "error": float(error.mean()),
                "to_whole": float((decoded - whole).abs().mean()),
                "seams": float(error[seam].mean()) if seam.any() else None,
                # the same frames of the mel that the whole gave: some passages are harder
                "whole_there": float((whole - mel).abs().mean(dim=-1)[seam].mean())
                if seam.any()
                else None,
                "seconds": took,
            }
        )
    return results


def vae_table(results: list[dict[str, Any]]) -> str:
    """Markdown: the VAE's error by length of window."""
    whole = results[0]["error"]

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    rows = [
        [
            "whole" if i == 0 else f"{r['chunk']:g} s",
            number(r["error"]),
            f"{r['error'] / whole - 1:+.2%}",
            number(r["seams"]),
            number(r["whole_there"]),
            number(r["to_whole"]),
            f"{r['seconds']:.1f} s",
        ]
        for i, r in enumerate(results)
    ]
    header = ["windows", "error, nepers", "added", "at seams", "whole, same frames"]
    return table([*header, "difference to whole", "time"], rows)


def measure(minutes, methods, full_size, metrics, paths, vae_only=False) -> Section:
    """Everything, as one section."""
    texts, numbers = [], {}
    if not vae_only:
        numbers["lengths"] = measure_lengths(minutes, paths, methods, full_size, metrics)
        model = "random weights of AudioLDM2's architecture" if full_size else "tiny"
        left_out = "" if metrics else f", all metrics but {' and '.join(SLOW_METRICS)}"
        texts.append(f"`reconstruct` from file to file, {model}, {methods}{left_out}:\n")
        texts.append(length_table(numbers["lengths"]))
    if not full_size:
        numbers["vae"] = measure_vae(paths)
        texts.append(f"\nThe tiny VAE over {VAE_SECONDS} s, whole and in windows:\n")
        texts.append(vae_table(numbers["vae"]))
    return Section("Length", "python -m benchmarks.length", "\n".join(texts), numbers)


def run(quick: bool) -> Section:
    """For ``python -m benchmarks``: two lengths and the VAE."""
    minutes = [0.5, 1.0] if quick else [2.0, 10.0]
    return measure(minutes, "vocoder,griffinlim", False, False, clip_paths(None))


@click.command(context_settings={"show_default": True})
@click.option("--minutes", default="2,10,60", help="Lengths, with commas between.")
@click.option("--methods", default="vocoder,griffinlim")
@click.option("--full-size", is_flag=True, help="AudioLDM2's architecture, random weights.")
@click.option("--all-metrics", is_flag=True, help="PESQ and ViSQOL too.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Clips to make the sound of. [default: the bundled ones]")  # fmt: skip
@click.option("--vae-only", is_flag=True, help="Only the VAE whole and in windows.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="All numbers.")
def main(minutes, methods, full_size, all_metrics, folder, vae_only, json_path):
    """Measure peak memory and time by length, and the VAE in windows; print Markdown."""
    try:
        lengths = [float(length) for length in minutes.split(",")]
    except ValueError:
        raise click.UsageError(f"--minutes: got {minutes!r}, expected such as 2,10,60") from None
    section = measure(lengths, methods, full_size, all_metrics, clip_paths(folder), vae_only)
    click.echo(section.markdown())
    if json_path:
        write_json(json_path, {section.title: section})


if __name__ == "__main__":
    run_command(main)
