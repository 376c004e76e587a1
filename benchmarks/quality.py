"""All methods over a folder of clips, with and without the VAE: the table behind the model card.

    python -m benchmarks.quality FOLDER [--model tiny] [--max-length 6] [--json results.json]

Prints Markdown: the means over the clips (with the number of clips scored where a metric has no
value for some), then the VAE's own error clip by clip.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from vaerecon import __version__
from vaerecon.audio import load_audio
from vaerecon.console import run_command
from vaerecon.methods import METHODS, select_methods
from vaerecon.metrics import METRICS, mean_scores
from vaerecon.pipeline import ReconstructionPipeline
from vaerecon.result import Reconstruction

SUFFIXES = {".flac", ".wav", ".ogg", ".mp3"}


def means_table(results: list[Reconstruction], through_vae: bool, shown: list[str]) -> str:
    """Markdown table of methods x metrics, means over clips."""
    lines = [
        "| method | " + " | ".join(f"{METRICS[n].label} {METRICS[n].unit}".strip() for n in shown)
        + " | RTF |",
        "|---" * (len(shown) + 2) + "|",
    ]  # fmt: skip
    for name in results[0].methods:
        groups = [r.methods if through_vae else r.without_vae for r in results]
        means = mean_scores([group[name].scores for group in groups])
        cells = []
        for metric in shown:
            value, scored = means[metric]
            note = "" if scored in (0, len(results)) else f" ({scored})"
            cells.append("-" if value is None else f"{value:.3g}{note}")
        seconds = sum(group[name].seconds for group in groups)
        cells.append(f"{seconds / sum(r.clip.duration for r in results):.3f}")
        lines.append(f"| {METHODS[name].label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def vae_table(results: list[Reconstruction]) -> str:
    """Markdown table of the VAE's own log-mel error, clip by clip, and the mean."""
    errors = {r.clip.name: float((r.mel_decoded - r.mel).abs().mean()) for r in results}
    rows = [f"| {name} | {error:.3f} |" for name, error in errors.items()]
    rows.append(f"| **mean** | **{sum(errors.values()) / len(errors):.3f}** |")
    return "\n".join(["| clip | VAE log-mel MAE, nepers |", "|---|---|", *rows])


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="tiny")
@click.option("--methods", default="all")
@click.option("--max-length", default=6.0, help="Seconds read of each clip.")
@click.option("--exclude-metric", "excluded", multiple=True, type=click.Choice(list(METRICS)))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="All numbers.")
def main(folder, model, methods, max_length, excluded, json_path):
    """Measure METHODS on every clip of FOLDER and print the means as Markdown."""
    pipe = ReconstructionPipeline.from_pretrained(model)
    paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
    if not paths:
        raise click.UsageError(f"got {folder.name!r} without audio, expected {sorted(SUFFIXES)}")
    names = select_methods(methods)
    results = []
    for path in paths:
        clip = load_audio(path, max_length=max_length)
        results.append(pipe(clip, names, exclude_metrics=excluded))
    shown = [n for n in METRICS if n not in excluded]
    click.echo(f"vaerecon {__version__}, {model}, {len(results)} clips, first {max_length:g} s\n")
    for title, through in (("Through the VAE", True), ("From the original mel", False)):
        click.echo(f"### {title}\n\n{means_table(results, through, shown)}\n")
    click.echo(f"### The VAE alone\n\n{vae_table(results)}")
    if json_path:
        numbers = [r.analysis(r.clip.name) for r in results]
        json_path.write_text(json.dumps(numbers, indent=1, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
