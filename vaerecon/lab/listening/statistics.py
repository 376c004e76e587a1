"""Blind listening tests, ABX and MUSHRA-like: orders, scores, statistics, plots, files.

The widgets are in :mod:`vaerecon.lab.listening.widgets`.

ABX tests whether two sounds can be told apart: each trial plays A, B and an X that is randomly one
of them; the number of correct answers is compared with guessing. MUSHRA asks how good sounds are:
all conditions of an item on one page, 0 to 100, with the open reference beside them; among them,
unnamed, the reference itself and an anchor, the reference low-passed at 3.5 kHz. Differences to the
recommendation: no training session, no mid anchor, no expert panel.

========= ====================================== ========= ========================================
ABX file  one line a test                        MUSHRA    one line a rating
========= ====================================== ========= ========================================
timestamp end of the test, UTC, ISO 8601         timestamp as there, of the item
listener  name, as given                         listener  name, as given
title     of the test                            item      name of the item
a, b      names of the sounds                    condition what was rated
seed      of the order                           label     what it was called there (A, B, ...)
order     what X was, such as ABBA               score     0 to 100
answers   what the listener said it was          seed      of the orders
========= ====================================== ========= ========================================

References
----------
.. [1] ITU-R BS.1116-3 (2015) and BS.1534-3 (2015): listening tests; MUSHRA, its anchors and
   the post-screening of listeners.
.. [2] C. Clopper and E. Pearson, "The use of confidence or fiducial limits illustrated in the case
   of the binomial", Biometrika 26, 1934.
"""

import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import signal, stats

from vaerecon.audio.samples import ArrayLike
from vaerecon.lab.figures import BLUE, GREY, draw_intervals
from vaerecon.lab.listening.levels import Matched, match_levels, one_clip
from vaerecon.plots import METHOD_COLORS, new_axes

CONFIDENCE = 0.95  # of every interval here
ABX_COLUMNS = ("timestamp", "listener", "title", "a", "b", "seed", "order", "answers")
MUSHRA_COLUMNS = ("timestamp", "listener", "item", "condition", "label", "score", "seed")
HIDDEN_REFERENCE = "hidden reference"
ANCHOR = "anchor 3.5 kHz"
ANCHOR_PASS, ANCHOR_STOP = 3500.0, 4000.0  # Hz; flat up to, gone from; [1]_ asks -25 dB at 4 kHz
REFERENCE_SCORE = 90  # a hidden reference rated lower was missed; [1]_
MISSED_SHARE = 0.15  # of the items; who misses more is left out; [1]_
WORDS = ("bad", "poor", "fair", "good", "excellent")  # each 20 points of the scale; [1]_


def abx_order(n_trials: int, seed: int) -> str:
    """What X is in each trial, such as ``"ABBA"``: independent random draws."""
    if n_trials < 1:
        raise ValueError(f"n_trials: got {n_trials}, expected at least 1; 16 is usual")
    return "".join(np.random.default_rng(seed).choice(["A", "B"], n_trials))


class AbxScore(NamedTuple):
    """Result of an ABX test."""

    correct: int  # of the trials
    trials: int
    proportion: float  # correct of trials, 0..1; 0.5 is guessing
    low: float  # of the Clopper-Pearson interval of the proportion
    high: float
    p_value: float  # chance of as many or more right answers by guessing (exact, one-sided)


def abx_score(order: str, answers: str) -> AbxScore:
    """Correct answers, their exact binomial p-value and 95 % Clopper-Pearson interval [2]_.

    ``order`` and ``answers`` are strings of A and B of one length: what X was, what the listener
    answered. Anything else is a ValueError.
    """
    if len(order) != len(answers) or not order or set(order + answers) - {"A", "B"}:
        raise ValueError(
            f"ABX: got the order {order!r} and the answers {answers!r}, "
            "expected two strings of A and B of one length"
        )
    correct = sum(x == said for x, said in zip(order, answers, strict=True))
    n = len(order)
    low, high = stats.binomtest(correct, n).proportion_ci(CONFIDENCE, method="exact")
    p_value = stats.binomtest(correct, n, 0.5, alternative="greater").pvalue
    return AbxScore(correct, n, correct / n, float(low), float(high), float(p_value))


def abx_summary(table: pd.DataFrame) -> pd.DataFrame:
    """The fields of :class:`AbxScore` by pair of sounds and listener, over all their tests."""
    keys = ["title", "a", "b", "listener"]
    joined = table.groupby(keys, sort=False)[["order", "answers"]].sum()
    scores = [abx_score(*pair) for pair in joined.to_numpy()]
    return joined.index.to_frame(index=False).join(pd.DataFrame(scores, columns=AbxScore._fields))


def plot_abx(summary: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Proportion of correct answers with its interval, one line each, and the chance level."""
    figure, ax = new_axes(ax, (8, 1.2 + 0.5 * len(summary)))
    ax.axvline(0.5, color=GREY, linestyle="--", label="guessing")
    names = [
        f"{row.a} / {row.b}, {row.listener}\n{row.correct} of {row.trials}, p = {row.p_value:.2g}"
        for row in summary.itertuples()
    ]
    intervals = summary[["proportion", "low", "high"]].to_numpy()
    draw_intervals(ax, names, intervals, [BLUE] * len(names))
    ax.set(xlim=(-0.02, 1.02), xlabel="right answers, 95 % interval")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1))  # above, where no bar is
    return figure, ax


def low_pass_anchor(samples: ArrayLike, sample_rate: int = 16000) -> np.ndarray:
    """MUSHRA's low anchor: samples ``[N]`` low-passed at 3.5 kHz, float32.

    A linear-phase filter (Kaiser window, 60 dB): flat within 0.01 dB to 3.5 kHz, 60 dB down from
    4 kHz; its delay is removed. ``sample_rate`` must be more than 8000 Hz.
    """
    if sample_rate <= 2 * ANCHOR_STOP:
        raise ValueError(
            f"sample_rate: got {sample_rate}, expected more than {2 * ANCHOR_STOP:.0f} Hz: "
            "there is nothing above 4 kHz to take away"
        )
    x = one_clip("samples", samples)
    taps, beta = signal.kaiserord(60, (ANCHOR_STOP - ANCHOR_PASS) / (sample_rate / 2))
    taps |= 1  # odd, so that the delay is whole samples
    middle = (ANCHOR_PASS + ANCHOR_STOP) / 2
    kernel = signal.firwin(taps, middle, window=("kaiser", beta), fs=sample_rate)
    return signal.fftconvolve(x, kernel, mode="same").astype(np.float32)


def mushra_conditions(
    tracks: Mapping[str, ArrayLike], reference: str, sample_rate: int = 16000
) -> Matched:
    """The conditions of one item: hidden reference, anchor and the other tracks.

    The tracks get the level of the reference; the anchor keeps its level after the filter.
    """
    clash = {HIDDEN_REFERENCE, ANCHOR} & set(tracks)
    if clash:
        raise ValueError(f"tracks: got {sorted(clash)}, names that the test adds itself; rename")
    level = match_levels(tracks, sample_rate, reference=reference, max_drop=math.inf)
    sounds = {track.name: track.samples for track in level.tracks}
    hidden = sounds.pop(reference)
    added = {HIDDEN_REFERENCE: hidden, ANCHOR: low_pass_anchor(hidden, sample_rate)}
    # one common gain again, if filtering has raised a peak
    return match_levels(added | sounds, sample_rate, level_match=False)


def mushra_order(names: Sequence[str], item: int, seed: int) -> list[str]:
    """The names in the random order of item number ``item``, by the seed."""
    return list(map(str, np.random.default_rng([seed, item]).permutation(names)))


def post_screen(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out listeners who rate the hidden reference below 90 in more than 15 % of items [1]_.

    Returns the ratings of the others, and who was left out.
    """
    hidden = table[table["condition"] == HIDDEN_REFERENCE]
    missed = (hidden["score"] < REFERENCE_SCORE).groupby(hidden["listener"]).mean()
    excluded = sorted(missed[missed > MISSED_SHARE].index)
    return table[~table["listener"].isin(excluded)], excluded


def mean_interval(scores: ArrayLike) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t; one score has a mean and no interval (NaN)."""
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"scores: got shape {list(x.shape)}, expected [n], at least one")
    mean, half = float(x.mean()), math.nan
    if len(x) > 1:
        half = stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return mean, float(mean - half), float(mean + half)


def mushra_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval of each condition, best first; screen first with :func:`post_screen`.

    Every rating counts as one observation: with few listeners and many items the interval holds for
    other items rated by these listeners, hardly for other listeners.
    """
    groups = table.groupby("condition")
    intervals = groups["score"].apply(lambda scores: mean_interval(scores.to_numpy()))
    summary = pd.DataFrame(list(intervals), intervals.index, columns=["mean", "low", "high"])
    summary["ratings"], summary["listeners"] = groups.size(), groups["listener"].nunique()
    return summary.reset_index().sort_values("mean", ascending=False, ignore_index=True)


def plot_mushra(summary: pd.DataFrame, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Mean score of each condition with its interval, best first."""
    figure, ax = new_axes(ax, (8, 1.2 + 0.5 * len(summary)))
    colors = METHOD_COLORS | {HIDDEN_REFERENCE: METHOD_COLORS["original"]}
    names = list(summary["condition"])
    intervals = summary[["mean", "low", "high"]].to_numpy()
    draw_intervals(ax, names, intervals, [colors.get(name, GREY) for name in names])
    ax.set_xticks(range(0, 101, 20))
    above = ax.get_xaxis_transform()
    for i, word in enumerate(WORDS):
        ax.text(20 * i + 10, 1.01, word, ha="center", va="bottom", transform=above)
    ax.set(xlim=(0, 102), xlabel="score, mean and 95 % interval")
    return figure, ax


def read_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A CSV file of results as a table: text as text, seeds and scores as numbers.

    Another file, or a score outside 0 to 100, is a ValueError.
    """
    name = Path(path).name
    # everything is text first, so that a listener called NA or 007 keeps the name
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    if tuple(table.columns) not in (ABX_COLUMNS, MUSHRA_COLUMNS):
        raise ValueError(
            f"{name}: got the columns {list(table.columns)}, expected those of ABX "
            f"{list(ABX_COLUMNS)} or of MUSHRA {list(MUSHRA_COLUMNS)}"
        )
    for column in {"seed", "score"} & set(table.columns):
        table[column] = pd.to_numeric(table[column])
    if "score" in table and not table["score"].between(0, 100).all():
        raise ValueError(f"{name}: got scores outside 0 to 100; correct the file")
    return table


def append_rows(
    path: str | os.PathLike[str], columns: Sequence[str], rows: list[dict[str, Any]]
) -> None:
    """Append rows to a CSV file in one write, after the header if it is new or empty.

    A file with other columns is a ValueError.
    """
    path = Path(path)
    before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    if before and (found := list(pd.read_csv(io.StringIO(before), nrows=0))) != list(columns):
        raise ValueError(
            f"{path.name}: got a file with the columns {found}, expected {list(columns)}; "
            "name another file"
        )
    open_line = before and not before.endswith("\n")  # left by an editor
    table = pd.DataFrame(rows, columns=list(columns))
    with open(path, "a", newline="", encoding="utf-8") as file:
        text = table.to_csv(index=False, header=not before, lineterminator="\n")
        file.write(f"\n{text}" if open_line else text)
