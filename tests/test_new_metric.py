"""A metric that somebody registers is computed, shown and counted everywhere, without an edit."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest
import soundfile as sf
from helpers.in_process import run
from helpers.sounds import make_sound

import vaerecon as vr
from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.lab import tables
from vaerecon.lab.nb01_mel_analysis import plots as plots_01
from vaerecon.lab.nb01_mel_analysis import recovery
from vaerecon.lab.nb03_vocoder_fix import faults
from vaerecon.lab.nb04_method_comparison import (
    comparison,
    error_budget,
    plots,
    validity,
)
from vaerecon.metrics import recommendation
from vaerecon.metrics.scores import METRICS, PANELS, Metric

NAME, LABEL = "peak_error", "Peak error"
HEADING = f"{LABEL} (FS) ↓"
OTHERS = [name for name in METRICS if name not in ("snr_db", "lsd_db")]


def peak_error(reference, estimate) -> float:
    """Difference of the largest samples: something that every pair of signals has."""
    return abs(max(reference.read(0, 400)) - max(estimate.read(0, 400)))


@pytest.fixture(scope="module")
def added():
    metric = Metric(NAME, LABEL, peak_error, unit="FS", best="lower", range="0..2", perfect=0.0,
                    caveat="looks at one sample", bounded=True, panels=PANELS)  # fmt: skip
    yield metrics.register(metric)
    del METRICS[NAME]


@pytest.fixture(scope="module")
def results(added, tiny):
    clips = [Clip(make_sound(0.4, seed), 16000, f"clip{seed}") for seed in (1, 2)]
    names = ["vocoder", "griffinlim", *comparison.REFERENCES]
    return [tiny(clip, names, exclude_metrics=OTHERS) for clip in clips]


@pytest.fixture(scope="module")
def scores(results) -> pd.DataFrame:
    return tables.score_table(results)


def test_it_is_computed_and_in_a_result(results):
    value = results[0].methods["vocoder"].scores[NAME]
    assert value > 0
    assert results[0].table.loc[("vocoder", True), NAME] == value
    analysis = json.loads(json.dumps(results[0].analysis("x")))
    assert analysis["methods"]["vocoder"]["metrics"][NAME] == value


def test_it_is_in_the_table_of_compare(added, tmp_path):
    sf.write(tmp_path / "a.wav", make_sound(0.3), 16000)
    options = {"methods": "vocoder", "exclude_metrics": OTHERS, "workers": 1}
    table = vr.compare(tmp_path, output=tmp_path / "t.csv", **options)
    assert table[NAME].notna().all()
    assert list(pd.read_csv(tmp_path / "t.csv")[NAME]) == list(table[NAME])


@pytest.mark.process
def test_other_processes_that_do_not_know_it_are_refused(added, tmp_path):
    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", make_sound(0.3), 16000)
    with pytest.raises(ValueError, match=rf"metrics: got \['{NAME}'\].*use workers=1"):
        vr.compare(tmp_path, methods="vocoder", workers=2)


def test_it_is_in_the_tables_of_the_notebooks(results, scores):
    assert HEADING in tables.mean_table(scores, True)
    assert LABEL in tables.ceiling_text(scores)
    notes = validity.metric_notes(scores, {NAME: 0.5})
    assert list(notes.loc[HEADING])[2:] == ["0.5", "looks at one sample"]
    assert NAME in validity.rank_correlation(scores)


def test_it_is_in_the_pictures_of_the_notebooks(results, scores):
    assert HEADING in [ax.get_xlabel() for ax in plots.plot_spread(scores)[1].flat]
    assert plots.plot_cost(scores, [NAME])[1][0].get_ylabel() == f"{LABEL} (FS): up is better"
    assert plots.plot_clips(scores, NAME)[1].get_xlabel() == HEADING
    budget = error_budget.error_budget(results)
    assert f"{LABEL} (FS)" in [ax.get_xlabel() for ax in plots.plot_budget(budget)[1].flat]
    assert f"The loss in {LABEL} (FS)" in error_budget.budget_text(budget, NAME)
    sounds = {"griffinlim": results[0].methods["griffinlim"].samples}
    table = recovery.score_recoveries(results[0].reference, sounds)
    titles = [ax.get_title() for ax in plots_01.plot_recoveries(table)[1].flat]
    assert HEADING in titles
    assert f"{LABEL} (FS)" in faults.sound_scores(results[0].reference, sounds)


def test_it_is_in_the_explorer(tiny, results):
    metric = comparison.explorer_comparison(tiny, results).children[0].children[0]
    assert (LABEL, NAME) in metric.options


def test_it_counts_for_the_recommendation(scores):
    names = tables.candidates(scores)
    rows = scores[["clip", "method", "vae", "real_time_factor"]]
    for best in names:  # whichever of them it likes best is taken, by both panels
        loss = (scores["method"] != best).astype(float)
        found = recommendation.recommend(rows.assign(**{NAME: loss}), names)
        assert {r.method for r in found if r.budget == float("inf")} == {best}
    assert list(recommendation.pareto(scores, NAME, names)[NAME])


def test_the_command_line_takes_and_shows_it(added, tmp_path):
    sf.write(tmp_path / "a.wav", make_sound(0.3), 16000)
    skipped = [part for n in OTHERS for part in ("--exclude-metric", n.replace("_", "-"))]
    shown = run("a.wav", "--methods", "vocoder", "--output-dir", "out", *skipped, cwd=tmp_path)
    assert f"{LABEL}: looks at one sample" in shown.stdout
    shown = run("compare", "a.wav", "--methods", "vocoder", "--output", "t.csv", "--workers", 1,
                *skipped, cwd=tmp_path)  # fmt: skip
    assert f"{LABEL} ↓" in shown.stdout


@pytest.mark.process
def test_it_can_be_left_out_on_the_command_line():
    """Names are looked up when they are used, and torch is not needed for that."""
    code = f"""
import sys
from vaerecon.metrics.scores import Metric, register
register(Metric({NAME!r}, {LABEL!r}, max, best="lower", range="0..2", perfect=0.0, caveat="none"))
from vaerecon.cli.main import cli
cli(["demo", "--exclude-metric", "peak-error", "--help"], standalone_mode=False)
try:
    cli(["demo", "--exclude-metric", "none-such"], standalone_mode=False)
except Exception as error:
    print(error)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "peak-error" in done.stdout
