"""The flow in a stream: quality against latency, and processor time a block.

    python -m benchmarks.streaming CLIPS [--max-length 4] [--simulate 10000] [--full-size]

Prints Markdown: whole clips beside streams, around the VAE and through it, the tiny model with the
method ``fast``, means over the clips. All rows but one get the clip's own peak as a fixed gain.
VAE: error of the mel behind it. Load: processor time of a block, median, on one thread, over its
length. ``--simulate`` also sends that many blocks of 40 ms through at real speed (10,000: 400 s)
and counts the late ones, on a quiet machine. ``--full-size`` gives instead what blocks models of
AudioLDM2's sizes (random weights) can do, on all cores: the time of a block over its length.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import vaerecon as vr
from benchmarks.common import table as markdown
from benchmarks.full_size import full_size
from vaerecon.audio.samples import normalize_level
from vaerecon.comparison.clips import find_clips
from vaerecon.models import autoencoder
from vaerecon.streaming.live import Line, at_real_speed
from vaerecon.utils.console import run_command

METRICS = ("log_mel_mae", "lsd_db", "pesq_wb", "stoi")
AROUND = (-0.03, 0.0, 0.02, 0.04, 0.08)  # s of look-ahead
THROUGH = (0.04, 0.08, 0.16)
FULL_BLOCKS = (0.16, 0.32, 0.64, 1.28)  # s
HEAD = ["what", "latency ms", "VAE nepers", "log-mel MAE nepers", "LSD dB", "PESQ-WB", "STOI",
        "ms a block (99 %)", "load"]  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"around, {s:g} s ahead": {"through_vae": False, "look_ahead": s} for s in AROUND},
    **{f"through, {s:g} s ahead": {"look_ahead": s} for s in THROUGH},
    "through, 0.08 s ahead, running gain": {"gain": None},
    "through, 0.08 s ahead, blocks of 80 ms": {"block": 0.08},
    "through, 0.08 s ahead, griffinlim": {"method": "griffinlim"},
    "through, 0.08 s ahead, statistics of each window": {"own": True},
}


def scores(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Of a sound against its clip; NaN where a metric has no value."""
    found = vr.metrics.evaluate(x, y, metrics=METRICS)
    return [np.nan if found[name] is None else found[name] for name in METRICS]


def whole(pipe: Any, vae: Any, x: torch.Tensor) -> list[float]:
    """A clip at once, through a VAE or (None) around it."""
    mel = vr.log_mel(x, normalize=False)
    decoded = mel
    if vae is not None:
        decoded = autoencoder.decode(vae, autoencoder.encode(vae, mel), len(mel))
    error = np.nan if vae is None else float((decoded - mel).abs().mean())
    return [np.nan, error, *scores(x, pipe.synthesize(decoded, "fast", len(x))), np.nan, np.nan]


def streamed(
    pipe: Any, x: torch.Tensor, own: bool = False, **setting: Any
) -> tuple[list[float], list[float]]:
    """A clip in a stream: its numbers, and the processor time of each block in ms.

    ``own``: the VAE's normalisations take the statistics of each window, as the ordinary VAE does.
    """
    stream = vr.Stream(pipe, **{"gain": 1.0} | setting)
    if own:
        stream.vae = pipe.vae
        stream._begin()
    last, mels = stream._stages[-1], []
    push = last.push
    last.push = lambda new, end: mels.append(new) or push(new, end)  # type: ignore[method-assign]
    size, sounds, spent = stream.frames * 160, [], []
    for block in x.split(size):
        started = time.process_time()
        sounds.append(stream.push(block))
        spent.append(1000 * (time.process_time() - started))
    y = torch.cat([*sounds, stream.flush()])[stream.latency :]
    mel = vr.log_mel(x, normalize=False)
    error = np.nan
    if stream.vae is not None and stream.gain is not None:
        error = float((torch.cat(mels)[: len(mel)] - mel).abs().mean())
    return [stream.latency / 16, error, *scores(x, y)], spent[10:]


def row(name: str, values: np.ndarray, spent: list[float], block: float) -> list[str]:
    """Means over clips as text."""
    means = [
        f"{x:.{d}f}" if x == x else "-" for x, d in zip(values, (0, 3, 3, 2, 2, 3), strict=True)
    ]
    if not spent:
        return [name, *means, "-", "-"]
    median, most = np.quantile(spent, [0.5, 0.99])
    return [name, *means, f"{median:.1f} ({most:.1f})", f"{median / block / 1000:.2f}"]


def simulate(pipe: Any, clips: list[torch.Tensor], count: int) -> str:
    """Blocks of 40 ms at real speed."""
    line = Line(vr.Stream(pipe))

    def blocks() -> Iterator[np.ndarray]:
        sound = torch.cat(clips).numpy()
        pieces = sound[: len(sound) // line.size * line.size].reshape(-1, line.size)
        for i in range(count):
            yield pieces[i % len(pieces)]

    at_real_speed(line, blocks(), lambda block: None)
    return line.report()


def full_size_blocks(x: torch.Tensor) -> str:
    """Blocks of several lengths and both ways to sound, with models of AudioLDM2's sizes."""
    vae, vocoder = full_size(vr.log_mel(x, normalize=False))
    pipe = vr.ReconstructionPipeline(vae, vocoder)
    pipe.calibrate([x])
    rows = []
    for method in ("fast", "vocoder"):
        for block in FULL_BLOCKS:
            stream = vr.Stream(pipe, block=block, method=method)
            spent = []
            for piece in x.repeat(2).split(round(16000 * block)):
                started = time.perf_counter()
                stream.push(piece)
                spent.append(time.perf_counter() - started)
            median, most = np.median(spent[2:]), np.max(spent[2:])
            rows.append([f"{method}, blocks of {block:g} s", f"{stream.latency / 16000:.2f}",
                         f"{median:.2f} ({most:.2f})", f"{median / block:.2f}"])  # fmt: skip
    head = ["full size", "latency s", "s a block (longest)", "load of all cores"]
    return markdown(head, rows)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--max-length", default=4.0, show_default=True, help="Seconds of each clip.")
@click.option("--simulate", "count", default=0, help="Blocks at real speed, too.")
@click.option("--full-size", "full", is_flag=True, help="Only AudioLDM2's sizes.")
def main(folder: Path, max_length: float, count: int, full: bool) -> None:
    """Measure and print."""
    if full:
        first = vr.load_audio(find_clips(folder)[0].path, max_length=10).samples
        click.echo(full_size_blocks(normalize_level(first)[0]))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
    pipe = vr.ReconstructionPipeline.from_pretrained("tiny")
    files = find_clips(folder)
    clips = [
        normalize_level(vr.load_audio(f.path, max_length=max_length).samples)[0] for f in files
    ]
    rows = []
    vaes = {"around": None, "through": pipe.vae, "through, fixed statistics": pipe.fixed_vae()}
    for name, vae in vaes.items():
        found = np.nanmean([whole(pipe, vae, x)[:6] for x in clips], axis=0)
        rows.append(row(f"whole clip, {name}", found, [], 1.0))
    for name, setting in SETTINGS.items():
        results = [streamed(pipe, x, **setting) for x in clips]
        found, spent = (
            np.nanmean([r[0] for r in results], axis=0),
            [t for r in results for t in r[1]],
        )
        rows.append(row(f"stream, {name}", found, spent, setting.get("block", 0.04)))
    click.echo(markdown(HEAD, rows))
    if count:
        click.echo(f"\n{simulate(pipe, clips, count)}")


if __name__ == "__main__":
    run_command(main)
