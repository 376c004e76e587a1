"""Sentences about results: with the results inverted, they say the opposite.

Every public function of the lab whose name ends in ``_text`` has an entry here; one without fails.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import vaerecon.lab
from vaerecon.comparison.intervals import Interval
from vaerecon.lab import tables
from vaerecon.lab.listening import levels
from vaerecon.lab.nb01_mel_analysis import recovery
from vaerecon.lab.nb03_vocoder_fix import faults
from vaerecon.lab.nb04_method_comparison import choice, error_budget, validity
from vaerecon.lab.nb05_fine_tuning import tuning
from vaerecon.lab.nb07_compression import bits
from vaerecon.lab.nb11_domains import domains
from vaerecon.lab.reports import report, table_scores
from vaerecon.lab.reports.runs import read_notebook
from vaerecon.metrics.recommendation import Recommendation
from vaerecon.metrics.scores import METRICS, Mean, Metric

ENDLESS = float("inf")


def frame(rows: dict[str, dict[str, float]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index")


def recovered(snr: float, phase: float, advance: float) -> tuple[pd.DataFrame]:
    other = {"snr_db": -2.0, "phase": 0.0, "phase_advance": 0.8}
    found = {"snr_db": snr, "phase": phase, "phase_advance": advance}
    rows = {"silence": {**other, "snr_db": 0.0}, "griffinlim": found, "oracle_phase": other}
    return (frame(rows | {"random_phase": {**other, "snr_db": snr}}),)


def swept(mrstft: list[float]) -> tuple[pd.DataFrame, list[str]]:
    shared = {"setting": ["n_mels=32", "AudioLDM2"], "n_mels": [32, 64], "estoi": [0.9, 0.8]}
    return pd.DataFrame(shared | {"mrstft": mrstft}), ["n_mels"]


def scales(sign: int) -> tuple[pd.DataFrame]:
    columns = ["SNR (dB)", "log-mel error (nepers)", "loop error (nepers)"]
    rows = {"ln magnitude": [1.0 * sign, 1.0, 1.0], "ln power": [0.0, 1.0 + sign, 1.0 + sign]}
    return (pd.DataFrame.from_dict(rows, orient="index", columns=columns),)


def scored(better: str) -> pd.DataFrame:
    """Two clips by two methods, silence and a ceiling; one method is better in everything."""
    rows = [
        {"clip": clip, "method": name, "vae": vae, "seconds": 1.0, "lsd_db": level,
         "real_time_factor": cost, "snr_db": level - 6.5, "log_mel_mae": level}
        for clip in ("a", "b")
        for vae in (True, False)
        for name, level, cost in (
            ("vocoder", 5.0 + (better != "vocoder") + vae * (better == "vocoder"), 0.1),
            ("griffinlim", 5.0 + (better == "vocoder") + vae * (better == "vocoder"), 0.5),
            ("silence", 9.0, 0.0),
            ("oracle_phase", 4.0, 1.0),
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)


def passed() -> pd.DataFrame:
    """The same with the ceiling below a method."""
    table = scored("vocoder")
    return table.assign(lsd_db=table["lsd_db"].where(table["method"] != "oracle_phase", 99.0))


def recommended(method: str) -> tuple[pd.DataFrame, list[Recommendation]]:
    found = Recommendation("speech", ENDLESS, method, 1.0, "hybrid", 2, 0, 2)
    return scored(method), [found]


def budget(mel: float, phase: float) -> tuple[pd.DataFrame]:
    corners = dict.fromkeys(error_budget.CORNERS, 1.0)
    row = {"clip": "a", "method": "vocoder", "metric": "lsd_db", **corners}
    return (pd.DataFrame([row | {"mel": mel, "vae": 1.0, "phase": phase}]),)


def tuned(own: float, other: float) -> tuple[pd.DataFrame]:
    rows = {"own": {"before": 0.2, "after": own}, "other": {"before": 0.2, "after": other}}
    table = frame(rows)
    table["change (%)"] = 100 * (table["after"] / table["before"] - 1)
    return (table,)


def coded(opus: tuple[float, float]) -> tuple[pd.DataFrame, dict[str, str], str]:
    rates = {"latent:2": (2, 2.0), "latent:8": (8, 2.5)}
    rates |= {"opus:6": (6, opus[0]), "opus:20": (20, opus[1])}
    rows = [
        {"clip": "a", "method": name, "kbps": rate, "pesq_wb": score}
        for name, (rate, score) in rates.items()
    ]
    return pd.DataFrame(rows), {"a": "speech"}, "pesq_wb"


def by_domain(noise: float, lower: float) -> tuple[dict[str, Interval]]:
    """Speech and noise; where the interval of noise is wide, a domain of one clip too."""
    found = {"speech": Interval(0.1, 0.05, 0.2, 3), "noise": Interval(noise, lower, 0.35, 3)}
    own = {"own": Interval(0.2, np.nan, np.nan, 1)} if lower < 0.2 else {}
    return (found | own,)


def measured(failed: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = pd.DataFrame({"file": ["a", "b"], "method": "fast", "error": None})
    if failed:
        table.loc[1, ["method", "error"]] = [None, "no sound"]
    return table, table_scores.system_scores(table)


def many(better: str) -> tuple[pd.DataFrame]:
    """Eight clips by two methods, of which one is better."""
    values = {"fast": 1.0 + (better != "fast"), "griffinlim": 1.0 + (better == "fast")}
    rows = [{"file": f"{i}", "method": m, "lsd_db": v} for i in range(8) for m, v in values.items()]
    return (table_scores.system_scores(pd.DataFrame(rows)),)


def apart(lower: float, upper: float) -> tuple[dict[Metric, dict[str, Interval]], str]:
    return {METRICS["lsd_db"]: {"Fast": Interval((lower + upper) / 2, lower, upper, 8)}}, "Vocoder"


def ordered(worst: str, best: str) -> tuple:
    return pd.DataFrame({"clip": [worst, best], "lsd_db": [9.0, 5.0]}), METRICS["lsd_db"], "Fast"


def played(factor: float, **options: bool) -> levels.Matched:
    sound = 0.1 * np.sin(np.arange(1600, dtype=np.float32))
    return levels.match_levels({"x": sound, "y": factor * sound}, **options)


def loud(lufs: float | None) -> levels.Track:
    return levels.Track("x", np.zeros(1, np.float32), 0.0, False, lufs)


GUIDE = {"one": (-1.0, 0.0, 0.147, 1.0), "other": (-8.0, 0.0, 0.5, 1.0)}
# name -> function, its arguments, those with the results inverted, and what only the first and only
# the second sentence says
ENTRIES: dict[str, tuple[Callable[..., str], tuple, tuple, str, str]] = {
    "recovery_text": (
        recovery.recovery_text, recovered(-3.0, 0, 0.9), recovered(3.0, 0, 0.9),
        "silence does at least as well as griffinlim, random_phase", "**better than silence**",
    ),
    "sweep_text": (
        recovery.sweep_text, swept([2.0, 1.0]), swept([1.0, 2.0]),
        "best at 64, ESTOI at 32 (AudioLDM2: 64)", "best at 32, ESTOI at 32 (AudioLDM2: 64)",
    ),
    "scale_text": (
        faults.scale_text, scales(1), scales(-1),
        "The SNR is best for **ln magnitude**: right", "The SNR is best for **ln power**: wrong",
    ),
    "ceiling_text": (
        tables.ceiling_text, (scored("vocoder"),), (passed(),),
        "No method passes", "**no ceiling**",
    ),
    "mean_text": (
        tables.mean_text, ("lsd_db", Mean(5.0, 2), 2, 5.0), ("lsd_db", Mean(5.0, 1), 2, 4.0),
        "**5.0**", "5.0 (1 of 2)",
    ),
    "recommendation_text": (
        choice.recommendation_text, recommended("vocoder"), recommended("griffinlim"),
        "time aside: **Vocoder**", "time aside: **Griffin-Lim**",
    ),
    "guide_text": (
        validity.guide_text, (), (GUIDE,), "its rows give the same", "its rows give different ones",
    ),
    "snr_text": (
        validity.snr_text, (scored("vocoder"),), (scored("griffinlim"),),
        "by SNR: 1 of 2. Methods that SNR calls *better* through the VAE than around it: 2 of 2",
        "*better* through the VAE than around it: 0 of 2",
    ),
    "budget_text": (
        error_budget.budget_text, budget(3.0, -1.0), budget(-1.0, 3.0),
        "Widest: the mel for Vocoder", "Widest: the phase for Vocoder",
    ),
    "result_text": (
        tuning.result_text, tuned(0.1, 0.3), tuned(0.3, 0.1),
        "**own**, held out: 0.200 to 0.100 nepers (-50 %), better",
        "**own**, held out: 0.200 to 0.300 nepers (+50 %), not better",
    ),
    "crossing_text": (
        bits.crossing_text, coded((1.0, 4.0)), coded((1.0, 2.0)), "Opus is better from",
        "Opus is better nowhere",
    ),
    "domain_text": (
        domains.domain_text, by_domain(0.3, 0.25), by_domain(0.3, 0.15),
        "**noise**: 0.300 nepers, 0.250 to 0.350 (3 clips). **Settled**",
        "**Not settled** against speech: the intervals overlap. No interval, so not settled: own",
    ),
    "gain_text": (
        levels.gain_text, (played(0.5).tracks[1],), (played(2.0).tracks[1],), "+6.0", "-6.0",
    ),
    "loudness_text": (
        levels.loudness_text, (loud(-23.0),), (loud(None),), "-23.0", "not measurable",
    ),
    "heard_text": (
        report.heard_text, ("a.wav", 4.0, 9.0), ("a.wav", 9.0, 9.0), "the first 4.0 s of 9.0 s",
        "all of it",
    ),
    "measured_text": (
        table_scores.measured_text, measured(False), measured(True), "2 of 2 clips",
        "1 of 2 clips.\n- Methods: Fast.\n- Failed: 1 clip.\n    - `b`: `no sound`",
    ),
    "choice_text": (
        table_scores.choice_text, many("fast"), many("griffinlim"),
        "music and other sound **Fast** (clear)", "music and other sound **Griffin-Lim** (clear)",
    ),
    "difference_text": (
        table_scores.difference_text, apart(-2.0, -1.0), apart(1.0, 2.0),
        "LSD (8 clips): better: Fast.", "LSD (8 clips): worse: Fast.",
    ),
    "extremes_text": (
        table_scores.extremes_text, ordered("a", "b"), ordered("b", "a"),
        "1. `a`: 9.0\n2. `b`: 5.0", "1. `b`: 9.0\n2. `a`: 5.0",
    ),
    "level_text": (
        levels.level_text, (played(0.5),), (played(0.5, level_match=False),),
        "All at the level", "Levels unchanged",
    ),
}  # fmt: skip


def text_functions() -> set[str]:
    """Names of the lab's public functions that build sentences, with the module where two share
    one."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(vaerecon.lab.__path__, "vaerecon.lab."):
        for name, thing in vars(importlib.import_module(module.name)).items():
            own = inspect.isfunction(thing) and thing.__module__ == module.name
            if own and name.endswith("_text") and not name.startswith("_"):
                found.setdefault(name, []).append(f"{module.name[13:]}.{name}")
    return {n for name, full in found.items() for n in (full if len(full) > 1 else [name])}


def test_every_sentence_has_an_entry():
    assert text_functions() == set(ENTRIES)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_sentence_follows_from_the_results(name):
    function, given, inverted, once, then = ENTRIES[name]
    first, second = function(*given), function(*inverted)
    assert once in first
    assert once not in second
    assert then in second
    assert then not in first


# ends of cells that make a sentence of numbers: names and values, and words; then those inverted
ERRORS = pd.DataFrame({"own": [0.3, 0.1], "other": [0.3, 0.1]}, index=[0.0, 1.0])
LIMITS = pd.Series({"the real file": 1.0, "KL from N(0, 1)": 2.0})
IN_CELLS = {
    "05_fine_tuning": (
        "least = errors", {"errors": ERRORS}, {"errors": ERRORS.assign(other=[0.1, 0.3])},
        "the same weight is best for both", "**other** at 0; the two disagree",
    ),
    "07_compression": (
        "ratio = limits", {"limits": LIMITS}, {"limits": LIMITS[::-1].set_axis(LIMITS.index)},
        ": less than", ": no less than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_CELLS)
def test_a_sentence_made_in_a_cell_says_the_opposite_too(name):
    start, values, inverted, words, opposite = IN_CELLS[name]
    _, notebook = read_notebook(Path(__file__).parents[2] / "notebooks" / f"{name}.ipynb")
    (code,) = [start + end for _, found, end in
               (cell.source.partition(start) for cell in notebook.cells) if found]  # fmt: skip
    for given, expected in ((values, words), (inverted, opposite)):
        said: list[str] = []
        exec(code, {**given, "markdown": said.append})  # noqa: S102 (a cell of this repository)
        assert expected in said[0]
