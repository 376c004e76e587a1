"""Methods side by side over several clips: the runs, their tables, and what the metrics say.

:func:`run_comparison` sends clips through every method, with and without the VAE; the other
functions turn its results into tables and text. The error budget and the recommendation are in
:mod:`vaerecon.lab.method_choice`, the pictures in :mod:`vaerecon.lab.method_comparison_plots`. A
*candidate* is a method that makes sound from a mel; the *references* (silence and the two ceilings)
are rows to compare with, never to be chosen.

Tables are long, one row a clip, method and source (``vae`` True: through the VAE), with one column
a metric and NaN where it has no value. Means say how many clips were scored.

Notebook: ``04_method_comparison``.

References
----------
.. [1] The guide that this kit grew out of: its table of 5 s of generated music, on a GPU.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaerecon.audio import Clip
from vaerecon.bundled import demo_clips
from vaerecon.lab.setup import demo_clip
from vaerecon.mel import log_mel
from vaerecon.methods import METHODS, select_methods
from vaerecon.metrics import METRICS, Mean, Scores, evaluate, mean_scores, snr_db
from vaerecon.samples import SILENCE, ArrayLike, normalize_level

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.pipeline import ReconstructionPipeline
    from vaerecon.result import Reconstruction

REFERENCES = ("silence", "oracle_phase", "oracle_magnitude")
WARM_UP = 8000  # samples; half a second
DECIMALS = {
    "snr_db": 2, "si_sdr_db": 1, "correlation": 3, "rmse": 3, "log_mel_mae": 3, "lsd_db": 1,
    "spectral_convergence_db": 1, "mrstft": 2, "pesq_wb": 2, "stoi": 3, "estoi": 3, "visqol": 2,
}  # fmt: skip
# SNR in dB, correlation, RMSE, seconds [1]_
GUIDE = {
    "Griffin-Lim, in the guide": (-0.01, -0.0063, 0.147, 0.95),
    "Vocoder, in the guide": (-8.34, 0.0211, 0.383, 0.05),
}


# ------------------------------------------------------------------ runs


def load_clips(clips: str | Sequence[str], max_length: float | None = None) -> list[Clip]:
    """The clips that a notebook's parameter names; none named: all that are bundled.

    Two files of one name get different ones, since tables go by name.

    Raises
    ------
    ValueError, OSError
        Those of :func:`vaerecon.load_audio`.
    """
    named = [clips] if isinstance(clips, str) else list(clips)
    loaded: dict[str, Clip] = {}
    for name in named or list(demo_clips()):
        clip = demo_clip(str(name), max_length)
        titles = (f"{clip.name} ({k})" if k > 1 else clip.name for k in itertools.count(1))
        title = next(t for t in titles if t not in loaded)
        loaded[title] = Clip(clip.samples, clip.sample_rate, title)
    return list(loaded.values())


def run_comparison(
    pipe: ReconstructionPipeline,
    clips: Iterable[Clip],
    methods: str | Iterable[str] = "all",
    *,
    seed: int = 0,
    with_visqol: bool = False,
) -> list[Reconstruction]:
    """Every method on every clip, from the original mel and through the VAE.

    The references are always among the methods. Each method first makes half a second that is not
    timed, so that none pays for compilation or for a library's first import.

    Raises
    ------
    ValueError
        If no clip came, one is silent, or no method that makes sound from a mel was chosen.
    """
    names = select_methods(methods)
    if all(METHODS[name].reference_only for name in names):
        able = ", ".join(n for n, m in METHODS.items() if not m.reference_only)
        raise ValueError(
            f"methods: got {', '.join(names)}, which only serve to compare with, "
            f"expected at least one of {able}"
        )
    clips = list(clips)
    if not clips:
        raise ValueError("clips: got none, expected at least one")
    silent = [clip.name for clip in clips if np.ptp(clip.samples) <= 2 * SILENCE]
    if silent:
        raise ValueError(
            f"clips: got only silence in {', '.join(silent)}, which no metric can score, "
            "expected sound; leave it out, or read more of it"
        )
    chosen = dict.fromkeys([*(n for n in names if n not in REFERENCES), *REFERENCES])
    start, _ = normalize_level(clips[0].samples[:WARM_UP])
    mel = log_mel(start, normalize=False)
    for name in chosen:
        pipe.synthesize(mel, name, n_samples=len(start), original=start)
    exclude = () if with_visqol else ("visqol",)
    return [pipe(clip, chosen, seed=seed, exclude_metrics=exclude) for clip in clips]


def describe_run(results: Sequence[Reconstruction]) -> str:
    """What was run, for people: clips, model, methods; Markdown."""
    model, first = results[0].model, results[0]
    clips = ", ".join(f"**{r.clip.name}** ({r.clip.duration:.1f} s)" for r in results)
    names = ", ".join(METHODS[n].label for n in candidates(score_table(results)))
    source = model.variant if model.source == model.variant else f"{model.variant}, {model.source}"
    return (
        f"{count(len(results), 'clip')}: {clips}. Model: {source}, with "
        f"{model.vae_parameters / 1e6:.2f} million parameters in the VAE and "
        f"{model.vocoder_parameters / 1e6:.2f} million in the vocoder, on {model.device} in "
        f"{model.dtype}, seed {first.seed}. Methods: {names}. To compare with: "
        f"{', '.join(METHODS[n].label.lower() for n in REFERENCES)}."
    )


def count(n: int, thing: str) -> str:
    """``1 clip``, ``3 clips``."""
    return f"{n} {thing}" + ("" if n == 1 else "s")


# ------------------------------------------------------------------ tables


def score_table(results: Sequence[Reconstruction]) -> pd.DataFrame:
    """Every score, long: ``clip``, ``method``, ``vae``, ``seconds``, ``real_time_factor``, then
    the metrics; those that no clip has a value for are left out."""
    import pandas as pd

    tables = [r.table.reset_index().assign(clip=r.clip.name) for r in results]
    table = pd.concat(tables, ignore_index=True)
    table["vae"] = table["vae"].astype(bool)
    empty = [m for m in METRICS if m in table and table[m].isna().all()]
    return table.drop(columns=empty)


def candidates(scores: pd.DataFrame) -> list[str]:
    """The methods in a table that can be chosen, in its order."""
    return [n for n in scores["method"].unique() if not METHODS[n].reference_only]


def scored_metrics(scores: pd.DataFrame, wanted: Iterable[str] = METRICS) -> list[str]:
    """Those of ``wanted`` that the table has."""
    return [name for name in wanted if name in scores]


def heading(metric: str) -> str:
    """Label, unit and direction of a metric, for axes and column heads."""
    m = METRICS[metric]
    unit = f" ({m.unit})" if m.unit else ""
    return f"{m.label}{unit} {'↑' if m.best == 'higher' else '↓'}"


def mean_table(
    results: Sequence[Reconstruction], through_vae: bool, metrics: Iterable[str] | None = None
) -> pd.DataFrame:
    """Means over the clips as text: methods x metrics, the best candidate of each in bold.

    Where fewer clips have a value than were run, the number that have one stands behind it.
    """
    import pandas as pd

    scores = score_table(results)
    metrics = scored_metrics(scores, METRICS if metrics is None else metrics)
    groups = [r.methods if through_vae else r.without_vae for r in results]
    rows = {}
    for name in groups[0]:
        means = mean_scores([group[name].scores for group in groups])
        rtf = np.median(
            [g[name].seconds / r.clip.duration for g, r in zip(groups, results, strict=True)]
        )
        rows[name] = {m: means[m] for m in metrics} | {"rtf": rtf}
    cells = {}
    for m in metrics:
        values = {n: row[m].value for n, row in rows.items() if row[m].value is not None}
        able = [values[n] for n in candidates(scores) if n in values]
        best = (max if METRICS[m].best == "higher" else min)(able) if len(able) > 1 else None
        cells[heading(m)] = [
            _mean_text(m, row[m], len(results), best if n in candidates(scores) else None)
            for n, row in rows.items()
        ]
    cells["time / length"] = [f"{row['rtf']:.3f}" for row in rows.values()]
    labels = pd.Index([METHODS[n].label for n in rows], name="method")
    return pd.DataFrame(cells, index=labels)


def _mean_text(metric: str, mean: Mean, clips: int, best: float | None = None) -> str:
    """In bold if it reads like the best; with the number of clips if that is not all of them."""
    if mean.value is None:
        return "no value"
    text = f"{mean.value:.{DECIMALS[metric]}f}"
    if best is not None and text == f"{best:.{DECIMALS[metric]}f}":
        text = f"**{text}**"
    return text if mean.scored == clips else f"{text} ({mean.scored} of {clips})"


def as_markdown(table: pd.DataFrame) -> str:
    """A table as Markdown, its index as the first column."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    head = line([table.index.name or "", *table.columns])
    rows = [line([i, *row]) for i, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join([head, "|" + " --- |" * (table.shape[1] + 1), *rows])


def listening_set(result: Reconstruction) -> dict[str, torch.Tensor]:
    """Label -> samples ``[N]`` to switch between: the original, every candidate through the VAE,
    and the original's phase with the mel alone, to hear what 64 mel bins leave."""
    sounds = {"original": result.reference}
    for name, found in result.methods.items():
        if not METHODS[name].reference_only:
            sounds[METHODS[name].label] = found.samples
    if "griffinlim" in result.without_vae:
        sounds["Griffin-Lim, no VAE"] = result.without_vae["griffinlim"].samples
    sounds["Oracle phase, no VAE"] = result.without_vae["oracle_phase"].samples
    return sounds


# ------------------------------------------------------------------ signal-to-noise, taken apart


def check_beats_silence(scores: pd.DataFrame, metric: str) -> None:
    """The least that is to be asked of a metric: every candidate scores better than silence.

    Through the VAE, means over clips.

    Raises
    ------
    ValueError
        If one does not: names them, with their scores.
    """
    means = scores[scores["vae"]].groupby("method", sort=False)[metric].mean()
    sign = 1 if METRICS[metric].best == "higher" else -1
    worse = [n for n in candidates(scores) if not sign * means[n] > sign * means["silence"]]
    if worse:
        unit = f" {METRICS[metric].unit}".rstrip()
        found = ", ".join(f"{METHODS[n].label} {means[n]:.2f}{unit}" for n in worse)
        raise ValueError(
            f"{METRICS[metric].label}: got {found}, expected better than the "
            f"{means['silence'] + 0.0:.2f}{unit} of digital silence; "
            "do not rank methods by this metric"
        )


def implied_gain_db(snr: float, correlation: float) -> float:
    """How much louder the estimate was than the original, dB, from two published numbers.

    With correlation ``c`` and RMS ratio ``g``, ``SNR = -10 log10(1 - 2 c g + g^2)`` exactly (for
    signals without mean), so ``g = c + sqrt(c^2 - 1 + 10^(-SNR / 10))`` if the SNR is below 0 dB.

    Raises
    ------
    ValueError
        If the SNR is 0 dB or more, where two gains fit, or none.
    """
    if not snr < 0:
        raise ValueError(
            f"snr: got {snr} dB, expected less than 0 dB; from there on two gains fit, or none: "
            "measure the loudness on the samples instead"
        )
    return 20 * math.log10(correlation + math.sqrt(correlation**2 - 1 + 10 ** (-snr / 10)))


def say_guide() -> str:
    """What the guide's table says once it is taken apart; Markdown."""
    rows = list(GUIDE.items())
    levels = [f"{e * 10 ** (s / 20):.3f}" for _, (s, _c, e, _t) in rows]
    loud = [f"**{implied_gain_db(s, c):+.1f} dB** ({n})" for n, (s, c, _e, _t) in rows]
    return (
        "Two things follow from the guide's own numbers. First, RMSE is SNR said again: "
        "`RMSE * 10^(SNR/20)` is the level of the original, and both of its rows give the same, "
        f"{' and '.join(levels)}. Second, the loudness of each result against the original: "
        f"{' and '.join(loud)}. The table compares how loud two sounds were."
    )


def say_snr(scores: pd.DataFrame) -> str:
    """What the SNR says of the VAE, and of silence; Markdown."""
    rows = scores[scores["method"].isin(candidates(scores))]
    means = rows.groupby(["method", "vae"], sort=False)["snr_db"].mean().unstack("vae")
    up, behind = int((means[True] > means[False]).sum()), int((means[True] < 0).sum())
    return (
        f"Methods that lose to digital silence by SNR: {behind} of {len(means)}. Methods that SNR "
        f"calls *better* through the VAE than around it: {up} of {len(means)}; the average is "
        f"{means[True].mean():.1f} dB through it and {means[False].mean():.1f} dB around it."
    )


def guide_table(results: Sequence[Reconstruction]) -> pd.DataFrame:
    """The original guide's table, then ours in its columns: means over clips, through the VAE.

    The last column is the RMS against the original's: implied for the guide, measured here.
    """
    import pandas as pd

    columns = [heading("snr_db"), heading("correlation"), heading("rmse"), "seconds", "loudness"]
    rows = {
        name: [f"{s:.2f}", f"{c:.4f}", f"{e:.3f}", f"{t:.2f}", f"{implied_gain_db(s, c):+.1f} dB"]
        for name, (s, c, e, t) in GUIDE.items()
    }
    names = [n for n in ("librosa", "griffinlim", "vocoder") if n in results[0].methods]
    for name in [*names, "silence", "oracle_phase"]:
        found = [r.methods[name] for r in results]
        means = mean_scores([f.scores for f in found])
        cells = [_mean_text(m, means[m], len(results)) for m in ("snr_db", "correlation", "rmse")]
        pairs = zip(found, results, strict=True)
        levels = [float(f.samples.std() / r.reference.std()) for f, r in pairs]
        level = f"{20 * math.log10(np.mean(levels)):+.1f} dB" if max(levels) > 0 else "silent"
        seconds = f"{np.mean([f.seconds for f in found]):.2f}"
        rows[f"{METHODS[name].label}, here"] = [*cells, seconds, level]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "method"
    return table


def snr_at_gains(
    reference: ArrayLike, estimate: ArrayLike, gains_db: Sequence[float]
) -> list[float]:
    """SNR in dB of an estimate whose volume is turned by each of ``gains_db``."""
    x = torch.as_tensor(estimate)
    return [snr_db(reference, x * 10 ** (gain / 20)) for gain in gains_db]


def seed_spread(
    pipe: ReconstructionPipeline, clip: Clip, method: str = "griffinlim", n_seeds: int = 4
) -> dict[str, float]:
    """Standard deviation of every metric between seeds of one method, from the original mel.

    A difference between two methods that is no larger is chance. ViSQOL is left out.
    """
    original, _ = normalize_level(clip.samples)
    mel = log_mel(original, normalize=False)
    runs: list[Scores] = []
    for seed in range(n_seeds):
        generator = torch.Generator().manual_seed(seed)
        sound = pipe.synthesize(mel, method, len(original), generator, original=original)
        runs.append(evaluate(original, sound.cpu(), exclude=("visqol",)))
    values = {m: [run[m] for run in runs if run[m] is not None] for m in METRICS}
    return {m: float(np.std(v, ddof=1)) for m, v in values.items() if len(v) > 1}


def metric_notes(scores: pd.DataFrame, noise: dict[str, float]) -> pd.DataFrame:
    """What each metric says of silence, of the candidates (range of their means, through the VAE),
    of another seed, and what it cannot say."""
    import pandas as pd

    means = scores[scores["vae"]].groupby("method", sort=False)[scored_metrics(scores)].mean()
    rows = {}
    for m in means:
        digits, values = DECIMALS[m], means.loc[candidates(scores), m].dropna()
        silence = means.loc["silence", m]
        span = f"{values.min():.{digits}f} to {values.max():.{digits}f}"
        rows[heading(m)] = [
            span if len(values) else "no value",
            "no value" if math.isnan(silence) else f"{silence + 0.0:.{digits}f}",
            f"{noise[m]:.2g}" if m in noise else "not tried",
            METRICS[m].caveat,
        ]
    columns = ["the methods", "silence", "another seed: ±", "what to keep in mind"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "metric"
    return table


def rank_correlation(scores: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation between metrics over the candidates, with and without the VAE.

    Each metric is turned so that more is better; 1 means that two rank alike, -1 the other way
    round. Computed within each clip, then averaged, so that clips which are hard for every method
    do not count as agreement. NaN where fewer than four rows of every clip have both values.
    """
    import pandas as pd

    metrics = scored_metrics(scores)
    rows = scores[scores["method"].isin(candidates(scores))]
    signs = {m: 1 if METRICS[m].best == "higher" else -1 for m in metrics}
    clips = [
        (group[metrics] * pd.Series(signs)).corr(method="spearman", min_periods=4)
        for _, group in rows.groupby("clip", sort=False)
    ]
    return pd.concat(clips).groupby(level=0, sort=False).mean().loc[metrics, metrics]
