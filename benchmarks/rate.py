"""Rates and scores of the latent codec beside Opus, MP3 and Vorbis, and the speed of the coder.

    python -m benchmarks.rate CLIPS [--max-length 6] [--codecs latent:5,opus] [--visqol]
                                    [--table rates.parquet]

Prints Markdown: rates and scores over all clips and by domain, then the coder. The domain is the
first word of a clip's name: ``speech`` and ``vocal``, ``music``, or another. Codecs are given a
rate, and coded at or below it (:mod:`vaerecon.comparison.codecs`); the latent is made sound of by
the method ``fast``. With ``--table``, what is in that file is not measured again.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

import vaerecon as vr
from benchmarks.common import table as markdown
from vaerecon.audio.buffers import MemoryTrack
from vaerecon.codec import Header
from vaerecon.comparison.clips import find_clips
from vaerecon.metrics.scores import METRICS
from vaerecon.utils.console import run_command

LATENT = (1.6, 2.4, 3.2, 4, 5, 6, 7, 8, 9, 12)
CODECS = [f"latent:{kbps}" for kbps in LATENT]
CODECS += ["opus", *(f"opus:{kbps}" for kbps in (6, 7, 8, 9, 10, 12, 16, 24))]
CODECS += ["mp3:8", "mp3:16", "mp3:24", "vorbis"]
SHOWN = {
    "kbps": "kbps",
    "log_mel_mae": "log-mel MAE nepers",
    "lsd_db": "LSD dB",
    "pesq_wb": "PESQ-WB",
    "stoi": "STOI",
    "visqol": "ViSQOL",
}
DOMAINS = {"speech": "speech and voice", "vocal": "speech and voice", "music": "music"}


def domain_of(clip: str) -> str:
    """By the first word of its name."""
    return DOMAINS.get(clip.split("_")[0], "percussion and environment")


def scores(table: pd.DataFrame) -> list[list[str]]:
    """A row for each method: means, in brackets over how many clips where some have no value."""
    rows = [["codec and rate asked for", *SHOWN.values()]]
    for method, group in table.groupby("method", sort=False):
        cells = []
        for name in SHOWN:
            count = group[name].notna().sum()
            some = "" if count == len(group) or not count else f" ({count})"
            cells.append(f"{group[name].mean():.3g}{some}" if count else "-")
        rows.append([str(method), *cells])
    return rows


def coder(clips: Path, max_length: float, kbps: float = 4.8) -> list[list[str]]:
    """Length against the ideal one, and times real time: processor time on one thread."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy's too
    codec = vr.LatentCodec.from_pretrained("tiny")
    pipe = vr.ReconstructionPipeline.from_pretrained("tiny")
    rows = []
    for file in find_clips(clips):
        clip = vr.load_audio(file.path, max_length=max_length)
        latent = pipe.encode(vr.log_mel(clip.samples))
        seconds = []
        data = codec.encode(latent, kbps=kbps)
        head = Header.read(data)
        for call in (
            lambda x=latent: codec.encode(x, kbps=kbps),
            lambda x=latent, step=head.step: codec.encode(x, step=step),
            lambda x=data: codec.decode(x),
        ):
            started = time.process_time()
            call()
            seconds.append(time.process_time() - started)
        symbols = codec._symbols(MemoryTrack(latent, -2), head.step_index)
        ideal = sum((16 - np.log2(sizes)).sum() for _, sizes in symbols)
        length = head.n_samples / 16000
        rows.append(
            [clip.name, f"{head.kbps:.2f}", f"{100 * (8 * head.payload / ideal - 1):.2f}",
             *(f"{length / spent:.0f}" for spent in seconds)]
        )  # fmt: skip
    return rows


@click.command()
@click.argument("clips", type=click.Path(exists=True, path_type=Path))
@click.option("--max-length", default=6.0, show_default=True, help="Seconds of each clip.")
@click.option("--codecs", default=",".join(CODECS), help="Names and rates. [default: 23 of them]")
@click.option("--visqol", is_flag=True, help="ViSQOL too, which takes longest.")
@click.option("--table", "path", type=click.Path(path_type=Path), help="Keep the table here.")
def main(clips: Path, max_length: float, codecs: str, visqol: bool, path: Path | None) -> None:
    """Measure and print."""
    if path is not None and path.exists():
        table = pd.read_parquet(path)
    else:
        left_out = [
            name for name in METRICS if name not in SHOWN or (name, visqol) == ("visqol", False)
        ]
        table = vr.compare(clips, methods="fast", codecs=codecs, max_length=max_length,
                           without_vae=False, exclude_metrics=left_out, output=path)  # fmt: skip
    table = table[table["method"] != "silence"]
    table = table.assign(domain=[domain_of(clip) for clip in table["clip"]])
    for domain, group in [("all", table), *table.groupby("domain")]:
        head, *rows = scores(group)
        count = group["clip"].nunique()
        click.echo(f"### {domain.capitalize()}, {count} clips\n\n{markdown(head, rows)}\n")
    head = ["clip", "kbps", "above the ideal length, %", "encode at a rate, times real time",
            "encode at a step", "decode"]  # fmt: skip
    click.echo(f"### The coder\n\n{markdown(head, coder(clips, max_length))}")


if __name__ == "__main__":
    run_command(main)
