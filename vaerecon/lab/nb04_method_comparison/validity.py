"""Notebook 04: what a metric can and cannot say, and the guide's claims beside measurements."""

import math
import statistics
import timeit
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import ArrayLike, as_samples, normalize_level
from vaerecon.lab import tables
from vaerecon.lab.nb03_vocoder_fix.faults import AUDIOLDM2_SIZES
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS, Scores, evaluate, mean_scores
from vaerecon.metrics.waveform import snr_db
from vaerecon.models.precision import LARGE
from vaerecon.models.vocoder import vocode
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.result import Reconstruction

# of the guide that this kit grew out of, 5 s of music on a GPU: SNR, correlation, RMSE, seconds
GUIDE = {
    "Griffin-Lim, in the guide": (-0.01, -0.0063, 0.147, 0.95),
    "Vocoder, in the guide": (-8.34, 0.0211, 0.383, 0.05),
}
GUIDE_SECONDS = 5.0  # s, the length of the guide's clip


def check_beats_silence(scores: pd.DataFrame, metric: str) -> None:
    """A ValueError with their means if candidates through the VAE score no better than silence."""
    means, m = tables.means_through_vae(scores, metric), METRICS[metric]
    worse = [n for n in tables.candidates(scores) if not m.sign * (means[n] - means["silence"]) > 0]
    if worse:
        unit = f" {m.unit}".rstrip()
        found = ", ".join(f"{tables.label(n)} {means[n]:.2f}{unit}" for n in worse)
        raise ValueError(
            f"{m.label}: got {found}, expected better than the "
            f"{means['silence'] + 0.0:.2f}{unit} of digital silence; "
            "do not rank methods by this metric"
        )


def implied_gain_db(snr: float, correlation: float) -> float:
    """How much louder the estimate was than the original, dB, from two published numbers.

    With correlation ``c`` and RMS ratio ``g``, ``SNR = -10 log10(1 - 2 c g + g^2)`` exactly (for
    signals without mean), so ``g = c + sqrt(c^2 - 1 + 10^(-SNR / 10))`` if the SNR is below 0 dB;
    else a ValueError.
    """
    if not snr < 0:
        raise ValueError(
            f"snr: got {snr} dB, expected less than 0 dB; from there on two gains fit, or none: "
            "measure the loudness on the samples instead"
        )
    return 20 * math.log10(correlation + math.sqrt(correlation**2 - 1 + 10 ** (-snr / 10)))


def guide_text(guide: Mapping[str, tuple[float, float, float, float]] = GUIDE) -> str:
    """What follows from the numbers in the guide's table; Markdown."""
    levels = [f"{e * 10 ** (s / 20):.3f}" for s, _, e, _ in guide.values()]
    same = "the same" if len(set(levels)) == 1 else "different ones"
    loud = [f"**{implied_gain_db(s, c):+.1f} dB** ({n})" for n, (s, c, _, _) in guide.items()]
    return (
        "Two things follow from the guide's own numbers. First, RMSE is SNR said again: "
        f"`RMSE * 10^(SNR/20)` is the level of the original, and its rows give {same}, "
        f"{' and '.join(levels)}. Second, the loudness of each result against the original: "
        f"{' and '.join(loud)}. With a correlation near zero, that is all that its SNR compares."
    )


def snr_text(scores: pd.DataFrame) -> str:
    """What the SNR says of the VAE, and of silence; Markdown."""
    rows = scores[scores["method"].isin(tables.candidates(scores))]
    means = rows.groupby(["method", "vae"], sort=False)["snr_db"].mean().unstack("vae")
    up, behind = int((means[True] > means[False]).sum()), int((means[True] < 0).sum())
    return (
        f"Methods that lose to digital silence by SNR: {behind} of {len(means)}. Methods that SNR "
        f"calls *better* through the VAE than around it: {up} of {len(means)}; the average is "
        f"{means[True].mean():.1f} dB through it and {means[False].mean():.1f} dB around it."
    )


def guide_table(results: Sequence[Reconstruction]) -> pd.DataFrame:
    """The guide's table, then ours in its columns: means over clips, through the VAE.

    The last column is the RMS against the original's: implied for the guide, measured here.
    """
    shown = ("snr_db", "correlation", "rmse")
    columns = [*(METRICS[m].heading for m in shown), "seconds", "loudness"]
    rows = {
        name: [f"{s:.2f}", f"{c:.4f}", f"{e:.3f}", f"{t:.2f}", f"{implied_gain_db(s, c):+.1f} dB"]
        for name, (s, c, e, t) in GUIDE.items()
    }
    names = [n for n in ("librosa", "griffinlim", "vocoder") if n in results[0].methods]
    for model, group in tables.by_model(results).items():
        for name in [*names, "silence", "oracle_phase"]:
            means = mean_scores([r.methods[name].scores for r in group])
            cells = [tables.mean_text(m, means[m], len(group)) for m in shown]
            levels = [float(r.methods[name].samples.std() / r.reference.std()) for r in group]
            level = f"{20 * math.log10(np.mean(levels)):+.1f} dB" if max(levels) > 0 else "silent"
            seconds = f"{np.mean([r.methods[name].seconds for r in group]):.2f}"
            rows[f"{tables.label(tables.row_name(name, model))}, here"] = [*cells, seconds, level]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("method")


def snr_at_gains(
    reference: ArrayLike, estimate: ArrayLike, gains_db: Iterable[float]
) -> list[float]:
    """SNR in dB of an estimate whose volume is changed by each of ``gains_db``."""
    x = as_samples(estimate)
    return [snr_db(reference, x * 10 ** (gain / 20)) for gain in gains_db]


def seed_spread(
    pipe: ReconstructionPipeline, clip: Clip, method: str = "griffinlim", n_seeds: int = 4
) -> dict[str, float]:
    """Standard deviation of every metric that is not slow, between seeds of one method.

    From the original mel. A difference between two methods that is no larger is chance.
    """
    slow = [m.name for m in METRICS.values() if m.slow]
    original, _ = normalize_level(clip.samples)
    mel = log_mel(original, normalize=False)
    runs: list[Scores] = []
    for seed in range(n_seeds):
        generator = torch.Generator().manual_seed(seed)
        sound = pipe.synthesize(mel, method, len(original), generator, original=original)
        runs.append(evaluate(original, sound.cpu(), exclude=slow))
    values = {m: [x for run in runs if (x := run[m]) is not None] for m in METRICS}
    return {m: float(np.std(v, ddof=1)) for m, v in values.items() if len(v) > 1}


def metric_notes(scores: pd.DataFrame, noise: dict[str, float]) -> pd.DataFrame:
    """What each metric says of the candidates through the VAE (range of their means), of silence,
    of another seed, and what it cannot say."""
    rows = {}
    for m in [METRICS[name] for name in tables.scored_metrics(scores)]:
        means = tables.means_through_vae(scores, m.name)
        silence, values = means["silence"], means[tables.candidates(scores)].dropna()
        rows[m.heading] = [
            f"{m.text(values.min())} to {m.text(values.max())}" if len(values) else "no value",
            "no value" if math.isnan(silence) else m.text(silence),
            f"{noise[m.name]:.2g}" if m.name in noise else "not tried",
            m.caveat,
        ]
    columns = ["the methods", "silence", "another seed: ±", "what to keep in mind"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("metric")


def rank_correlation(scores: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation between metrics over the candidates, with and without the VAE.

    Each metric is turned so that more is better. Computed within each clip, then averaged, so that
    clips which are hard for every method do not count as agreement. NaN where fewer than four rows
    of every clip have both values.
    """
    metrics = tables.scored_metrics(scores)
    rows = scores[scores["method"].isin(tables.candidates(scores))]
    signs = pd.Series({m: METRICS[m].sign for m in metrics})
    clips = [
        (group[metrics] * signs).corr(method="spearman", min_periods=4)
        for _, group in rows.groupby("clip", sort=False)
    ]
    return pd.concat(clips).groupby(level=0, sort=False).mean().loc[metrics, metrics]


def speed_table(results: Sequence[Reconstruction], seconds: float = 1.0) -> pd.DataFrame:
    """Time as a share of the clip's length, vocoder and Griffin-Lim: the guide's, then ours.

    Ours are medians over the clips, through the VAE. If a vocoder is smaller than AudioLDM2's,
    the last row is one of that size with random weights, which take the same time, on the first
    ``seconds`` of the first clip.
    """
    guide = (GUIDE[f"{name}, in the guide"][3] for name in ("Vocoder", "Griffin-Lim"))
    rows = {"the guide, on a GPU": [t / GUIDE_SECONDS for t in guide]}
    groups = tables.by_model(results).values()
    for group in groups:
        model = group[0].model
        title = model.variant if len(groups) == 1 else model.source
        for name in ("librosa", "griffinlim"):
            if {name, "vocoder"} <= set(group[0].methods):
                rows[f"{title}, on {model.device}; {METHODS[name].label}"] = [
                    statistics.median(r.methods[n].seconds / r.clip.duration for r in group)
                    for n in ("vocoder", name)
                ]
    if min(r.model.vocoder_parameters for r in results) < LARGE:
        device, title = results[0].model.device, METHODS["griffinlim"].label
        mel = results[0].mel[: round(seconds * AUDIOLDM_MEL.frames_per_second)].to(device)
        rows[f"AudioLDM2's size, on {device}; {title}"] = _full_size(mel)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["vocoder", "Griffin-Lim"])
    table["times faster"] = table["Griffin-Lim"] / table["vocoder"]
    return table.rename_axis("time / length")


def _full_size(mel: torch.Tensor) -> list[float]:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    with torch.random.fork_rng(devices=[]):
        vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**AUDIOLDM2_SIZES)).eval().to(mel.device)
    length = len(mel) / AUDIOLDM_MEL.frames_per_second
    n_samples, griffin_lim = len(mel) * AUDIOLDM_MEL.hop_length, METHODS["griffinlim"].function
    calls = (
        lambda: vocode(vocoder, mel).cpu(),  # waits for an accelerator
        lambda: griffin_lim(mel, n_samples, torch.Generator().manual_seed(0)).cpu(),
    )
    # the shortest of two, after one that is not timed
    return [min(timeit.repeat(call, number=1, repeat=3)[1:]) / length for call in calls]
