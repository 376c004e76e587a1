"""All methods over a folder of clips, with and without the VAE: the tables of the model card.

    python -m benchmarks.quality FOLDER [--model tiny] [--max-length 6] [--json results.json]

Prints Markdown: the means over the clips (with the number of clips scored where a metric has no
value for some), how near the methods come to the ceiling ``oracle_phase`` and on how many clips one
passes it, the best and the worst clip of each method, then the VAE clip by clip, its latent
channel by channel, and what lies halfway between two clips.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import torch

from vaerecon import __version__
from vaerecon.audio.clip import load_audio
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.methods import METHODS, select_methods
from vaerecon.metrics.scores import METRICS, mean_scores
from vaerecon.models.autoencoder import kl_nats, posterior
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.result import Reconstruction
from vaerecon.utils.console import run_command

SUFFIXES = {".flac", ".wav", ".ogg", ".mp3"}
FINE = 0.25  # cycles a frame (25 Hz) or a mel bin: the upper half of each range is fine detail
RANKED_BY = "pesq_wb"  # the metric that names a method's best and worst clip


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


def extremes_table(results: list[Reconstruction], metric: str = RANKED_BY) -> str:
    """Markdown table: the clips on which each method did best and worst, without the VAE."""
    label = METRICS[metric].label
    lines = [f"| method | best {label} | on | worst {label} | on |", "|---|---|---|---|---|"]
    for name in results[0].methods:
        scored = [
            (r.without_vae[name].scores[metric], r.clip.name)
            for r in results
            if r.without_vae[name].scores[metric] is not None
        ]
        if scored:
            best, worst = max(scored), min(scored)
            lines.append(
                f"| {METHODS[name].label} | {best[0]:.2f} | {best[1]} | {worst[0]:.2f} | "
                f"{worst[1]} |"
            )
    return "\n".join(lines)


def ceiling_table(results: list[Reconstruction], through_vae: bool, shown: list[str]) -> str:
    """Markdown table: how near the methods come to ``oracle_phase``, and where one passes it."""
    lines = [
        "| metric | ceiling, mean | nearest method, mean | nearest on a clip | clips passed |",
        "|---|---|---|---|---|",
    ]
    groups = [r.methods if through_vae else r.without_vae for r in results]
    names = [n for n in results[0].methods if not METHODS[n].reference_only]
    for metric in [m for m in shown if METRICS[m].bounded]:
        # clips x methods; NaN without a score
        scores = np.array([[g[n].scores[metric] for n in names] for g in groups], float)
        ceiling = np.array([g["oracle_phase"].scores[metric] for g in groups], float)
        distance = METRICS[metric].sign * (ceiling[:, None] - scores)
        if np.isnan(distance).all():
            continue
        best = int(np.nanargmin(np.nanmean(distance, axis=0)))
        clip, near = np.unravel_index(np.nanargmin(distance), distance.shape)
        lines.append(
            f"| {f'{METRICS[metric].label} {METRICS[metric].unit}'.strip()} "
            f"| {np.nanmean(ceiling):.3g} "
            f"| {METHODS[names[best]].label}, {np.nanmean(scores[:, best]):.3g} "
            f"| {METHODS[names[near]].label}, {scores[clip, near]:.3g} against {ceiling[clip]:.3g} "
            f"on {results[clip].clip.name} "
            f"| {(distance < 0).any(axis=1).sum()} of {np.isfinite(ceiling).sum()} |"
        )
    return "\n".join(lines)


def fine_energy(log_mel: torch.Tensor) -> float:
    """Energy of the fine modulations of a log-mel ``[T, 64]``.

    That part of its two-dimensional Fourier transform that changes at :data:`FINE` or faster, from
    frame to frame or from bin to bin. Blur takes it away, invented grain adds to it.
    """
    x = log_mel.clamp_min(AUDIOLDM_MEL.log_floor)  # a decoder may go below the floor
    power = torch.fft.fft2(x - x.mean()).abs().square()
    across_time = torch.fft.fftfreq(x.shape[0]).abs()[:, None]
    across_bins = torch.fft.fftfreq(x.shape[1]).abs()[None, :]
    return float(power[(across_time >= FINE) | (across_bins >= FINE)].sum())


def vae_numbers(pipe: ReconstructionPipeline, results: list[Reconstruction]) -> list[dict]:
    """What the VAE alone does to each clip."""
    rows = []
    for result in results:
        mean, logvar = posterior(pipe.vae, result.mel)
        rows.append(
            {
                "clip": result.clip.name,
                "mae_nepers": float((result.mel_decoded - result.mel).abs().mean()),
                "kl_nats": float(kl_nats(mean, logvar)),
                "fine_energy": fine_energy(result.mel_decoded) / fine_energy(result.mel),
            }
        )
    return rows


def vae_table(rows: list[dict]) -> str:
    """Markdown table of :func:`vae_numbers`, and the mean."""
    lines = [
        "| clip | log-mel MAE, nepers | KL, nats per latent value | fine energy, of the original |",
        "|---|---|---|---|",
    ]
    mean = {key: sum(r[key] for r in rows) / len(rows) for key in rows[0] if key != "clip"}
    for row in [*rows, {"clip": "**mean**"} | mean]:
        lines.append(
            f"| {row['clip']} | {row['mae_nepers']:.3f} | {row['kl_nats']:.2f} | "
            f"{row['fine_energy']:.2f} |"
        )
    return "\n".join(lines)


def latent_table(pipe: ReconstructionPipeline, results: list[Reconstruction]) -> str:
    """Markdown table of the latent's channels over all clips: what each carries."""
    posteriors = [posterior(pipe.vae, r.mel) for r in results]
    # [8, L, 16] of each clip -> [8, all values]
    means = torch.cat([m.flatten(1) for m, _ in posteriors], dim=1)
    logvars = torch.cat([v.flatten(1) for _, v in posteriors], dim=1)
    noise = (0.5 * logvars).exp().mean(dim=1)
    nats = 0.5 * (means.square() + logvars.exp() - 1 - logvars).mean(dim=1)
    lines = [
        "| channel | mean | deviation | posterior's deviation | KL, nats per value |",
        "|---|---|---|---|---|",
    ]
    for c in range(len(means)):
        lines.append(
            f"| {c} | {means[c].mean():.2f} | {means[c].std():.2f} | {noise[c]:.3f} | "
            f"{nats[c]:.2f} |"
        )
    return "\n".join(lines)


def halfway_table(pipe: ReconstructionPipeline, results: list[Reconstruction]) -> str:
    """Markdown table: the mel decoded halfway between the latents of neighbouring clips.

    A blend is nearer to each clip than they are to each other, and near to the mean of their mels.
    """
    lines = [
        "| clips | apart | halfway to first | to second | to the mean of their mels |",
        "|---|---|---|---|---|",
    ]
    for a, b in pairwise(results):
        length = min(a.mel.shape[0], b.mel.shape[0]) // 4 * 4
        first, second = a.mel[:length], b.mel[:length]
        halfway = pipe.decode((pipe.encode(first) + pipe.encode(second)) / 2)

        def apart(x: torch.Tensor, y: torch.Tensor) -> str:
            return f"{(x - y).abs().mean():.2f}"

        lines.append(
            f"| {a.clip.name}, {b.clip.name} | {apart(first, second)} | {apart(halfway, first)} | "
            f"{apart(halfway, second)} | {apart(halfway, (first + second) / 2)} |"
        )
    return "\n".join(lines)


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
    pipe.set_progress_bar_config(disable=None)  # shown on a terminal only
    paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
    if not paths:
        raise click.UsageError(f"got {folder.name!r} without audio, expected {sorted(SUFFIXES)}")
    names = select_methods(methods)
    results = []
    for path in paths:
        clip = load_audio(path, max_length=max_length)
        results.append(pipe(clip, names, exclude_metrics=excluded))
    shown = [n for n in METRICS if n not in excluded]
    vae_rows = vae_numbers(pipe, results)
    click.echo(f"vaerecon {__version__}, {model}, {len(results)} clips, first {max_length:g} s\n")
    sections = {
        "Through the VAE": means_table(results, True, shown),
        "From the original mel": means_table(results, False, shown),
        "The VAE alone": vae_table(vae_rows),
        "Its latent, channel by channel": latent_table(pipe, results),
        "Halfway between two clips, nepers": halfway_table(pipe, results),
    }
    if "oracle_phase" in names:
        for through_vae, source in ((True, "through the VAE"), (False, "from the original mel")):
            sections[f"The ceiling, {source}"] = ceiling_table(results, through_vae, shown)
    if RANKED_BY in shown:
        sections["Best and worst clip, from the original mel"] = extremes_table(results)
    for title, table in sections.items():
        click.echo(f"### {title}\n\n{table}\n")
    if json_path:
        numbers = {
            "clips": [r.analysis(r.clip.name) for r in results],
            "vae": vae_rows,
        }
        json_path.write_text(json.dumps(numbers, indent=1, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
