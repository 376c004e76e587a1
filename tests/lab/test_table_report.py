"""The page of a table: what is read and refused, its numbers, and the page as a whole."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from helpers import in_process
from helpers.html_checks import loads_from_elsewhere, machine_paths

from vaerecon.comparison.table import read_measured, write_table
from vaerecon.lab.reports import report, table_plots, table_scores
from vaerecon.metrics.recommendation import recommend
from vaerecon.metrics.scores import METRICS, ON_REQUEST

METHODS = {"fast": 5.0, "griffinlim": 6.0, "silence": 50.0}


def made(domains: dict[str, int], models: tuple[str, ...] = ("tiny",), seed: int = 0):
    """A table as `compare` writes it: ``fast`` is better by about 1, and "mine" better by 2."""
    rng, rows = np.random.default_rng(seed), []
    for domain, n in domains.items():
        for clip in (f"{domain}/{i}.wav" for i in range(n)):
            hard = rng.normal()  # for all methods
            for model in models:
                for method, level in METHODS.items():
                    for vae in (True, False):
                        value = level + hard + rng.normal(0, 0.1) - 2 * (model == "mine") + vae
                        rows.append({"file": clip, "domain": domain, "model": model,
                                     "method": method, "through_vae": vae, "lsd_db": value,
                                     "snr_db": -value, "log_mel_mae": value / 10,
                                     "duration_s": 2.0, "error": None})  # fmt: skip
    return pd.DataFrame(rows).assign(pesq_wb=np.nan)


def refused(name: str) -> bytes:
    texts = {
        "no_columns.csv": "a,b\n1,2\n",
        "no_metric.csv": "file,method,seconds\na.wav,fast,1\n",
        "no_rows.csv": "file,method,lsd_db\n",
        "words.csv": "file,method,lsd_db\na.wav,fast,high\n",
        "failed.csv": "file,method,lsd_db,error\na.wav,,,not a sound\n",
        "twice.csv": "file,method,lsd_db\na.wav,fast,1\na.wav,fast,2\n",
        "empty.csv": "",
        "broken ü.parquet": "nonsense",
    }
    return texts[name].encode()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_columns.csv", "got no column file and no method"),
        ("no_metric.csv", "got no metric"),
        ("no_rows.csv", "without rows"),
        ("words.csv", "got text in lsd_db, expected numbers"),
        ("failed.csv", "none of its clips could be measured: not a sound"),
        ("twice.csv", "got two rows for a.wav fast"),
        ("empty.csv", "this is no table"),
        ("broken ü.parquet", "this is no table"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, name, message):
    (tmp_path / name).write_bytes(refused(name))
    done = in_process.run("report", name, "--output", "page.html", cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {name}: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "none.csv"),
        (["folder.parquet"], "folder.parquet"),
        (["good.csv", "--by", "kind"], "--by: got 'kind', expected a column"),
        (["good.csv", "--by", "file"], "20 values at most"),
        (["good.csv", "--against", "vocoder"], "expected one of Fast, Griffin-Lim"),
        (["good.csv", "--model", "tiny"], "--model is for a report on a clip"),
        (["song.wav", "--by", "domain"], "--by is for a report on a table"),
        (["good.csv", "--output", "folder.parquet"], "which is a folder"),
    ],
)
def test_what_a_table_cannot_be_asked_is_refused(tmp_path, arguments, message):
    (tmp_path / "folder.parquet").mkdir()
    write_table(made({"a": 21}), tmp_path / "good.csv")
    done = in_process.run("report", *arguments, cwd=tmp_path)
    assert done.status == 2
    assert message in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.parquet", "good.csv"]


def test_a_page_that_cannot_be_written_is_refused_before_the_notebook_runs(tmp_path, monkeypatch):
    write_table(made({"a": 2}), tmp_path / "good.csv")
    monkeypatch.setattr("vaerecon.lab.reports.runs.execute", None)
    done = in_process.run("report", "good.csv", "--output", "good.csv/page.html", cwd=tmp_path)
    assert done.status == 2
    assert "error: output folder: got 'good.csv', which is a file" in done.stderr


def test_a_table_reads_alike_from_both_kinds_of_file(tmp_path):
    table = made({"NA": 1, "007": 1}, ("1e3",))  # names that look like no value, and like numbers
    for name in ("a.csv", "a.parquet"):
        write_table(table, tmp_path / name)
    scores = [
        table_scores.system_scores(read_measured(tmp_path / n)) for n in ("a.csv", "a.parquet")
    ]
    for column in ("domain", "model", "system", "vae", "lsd_db"):
        assert list(scores[0][column]) == list(scores[1][column])
    assert set(scores[0]["domain"]) == {"NA", "007"}


def test_means_say_how_many_clips_and_the_best_is_bold_only_among_equals():
    table = made({"a": 4})
    first = table.index[0]
    assert table.loc[first, "method"] == "fast"
    rows = table_scores.sources(table_scores.system_scores(table))["Through the VAE"]
    means = table_scores.mean_table(rows, bold=True)
    assert list(means["clips"]) == [4, 4, 4]
    lsd, mine = means[METRICS["lsd_db"].heading], rows[rows["system"] == "Fast"]["lsd_db"]
    assert lsd["Fast"].startswith(f"**{mine.mean():.1f}**, ")
    assert "**" not in lsd["Griffin-Lim"] + lsd["Silence"]
    assert METRICS["snr_db"].heading not in means
    assert "**" not in "".join(
        table_scores.mean_table(rows, bold=False).astype(str).to_numpy().flat
    )
    table.loc[first, "lsd_db"] = np.nan  # now the two means are of different clips
    rows = table_scores.sources(table_scores.system_scores(table))["Through the VAE"]
    lsd = table_scores.mean_table(rows, bold=True)[METRICS["lsd_db"].heading]
    assert "(3 of 4)".replace(" ", "\N{NO-BREAK SPACE}") in lsd["Fast"]
    assert "**" not in "".join(lsd)


def test_the_choice_is_that_of_the_rules_also_where_a_clip_lacks_a_system():
    table = made({"a": 7, "b": 2}, ("tiny", "mine"))
    scores = table_scores.system_scores(table)
    assert table_scores.reference_system(scores) == "Fast (mine)"
    rules = recommend(scores.assign(method=scores["system"], real_time_factor=0.1),
                      list(table_scores.compared(scores)))  # fmt: skip
    assert table_scores.choices(scores)[0].wins == rules[2].wins == 9
    text = table_scores.choice_text(scores, table_scores.grouping(scores))
    assert "All, 9 clips: for speech **Fast (mine)** (clear)" in text
    assert "`b`, 2 clips: for speech **Fast (mine)** (too few clips to be sure)" in text
    assert table_scores.grouping(scores, "model") == "model"
    some = scores.drop(scores[(scores["clip"] == "a/0.wav") & (scores["method"] == "fast")].index)
    assert table_scores.choices(some)[0].clips == 8


def test_a_table_without_vae_or_known_methods_has_a_choice_too():
    table = made({"a": 6}).query("through_vae").drop(columns=["through_vae", "model", "domain"])
    names = {"fast": "my codec", "griffinlim": "other", "silence": "bad"}
    scores = table_scores.system_scores(table.replace(names))
    assert list(table_scores.sources(scores)) == [""]
    assert table_scores.reference_system(scores) == "my codec"
    assert table_scores.grouping(scores) == ""


def test_pairs_see_what_the_spread_of_clips_hides():
    scores = table_scores.system_scores(made({"a": 8}))
    found = table_scores.differences(scores, "Fast")
    mean, lower, upper, n = found[METRICS["lsd_db"]]["Griffin-Lim"]
    assert 0.8 < lower < mean < upper < 1.2  # the clips differ by much more
    assert n == 8
    assert METRICS["snr_db"] not in found
    assert list(found[METRICS["lsd_db"]]) == ["Griffin-Lim"]


def test_a_metric_that_is_computed_on_request_stands_beside_the_others(tmp_path):
    table = made({"a": 4}).assign(dnsmos=3.25)
    write_table(table[["file", "method", "through_vae", "dnsmos"]], tmp_path / "t.csv")
    scores = table_scores.system_scores(read_measured(tmp_path / "t.csv"))
    (metric,) = table_scores.metrics_of(scores)
    assert table_scores.main_metric(scores) == metric == ON_REQUEST["dnsmos"]
    reference = table_scores.reference_system(scores)
    means = table_scores.mean_table(scores[scores["vae"]], bold=True)
    assert means["DNSMOS (MOS) ↑"]["Fast"].startswith("**3.25**, 3.25")
    found = table_scores.differences(scores, reference)
    assert "DNSMOS (4 clips): not settled" in table_scores.difference_text(found, reference)
    assert list(report.caveats(scores).index) == ["DNSMOS (MOS) ↑"]


@pytest.mark.parametrize("n", [1, 6, 9])
def test_worst_and_best_clips_in_order_and_each_once(n):
    scores = table_scores.system_scores(made({"a": n}))
    picked = table_scores.extremes(scores, "Fast")
    assert table_scores.main_metric(scores).name == "log_mel_mae"
    values = scores[scores["vae"] & (scores["system"] == "Fast")]["log_mel_mae"]
    wanted = sorted(values, reverse=True)
    assert list(picked["log_mel_mae"]) == (wanted if n < 7 else wanted[:3] + wanted[-3:])


def test_pictures_show_every_system_and_say_how_many_clips():
    scores = table_scores.system_scores(made({"$_$ b": 3, "c": 2}, ("tiny", "mine")))
    rows = table_scores.sources(scores)["Through the VAE"]
    figure, axes = table_plots.plot_distributions(rows, scores)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels == list(table_scores.compared(scores))
    assert sum(len(c.get_offsets()) for c in axes[0].collections) == 5 * 4
    figure, axes = table_plots.plot_groups(scores, "domain")
    figure.draw_without_rendering()  # a pair of dollar signs is no formula
    assert all(re.fullmatch(r"[\d.]+ \([32]\)", text.get_text()) for text in axes[0].texts)
    assert len(axes[0].texts) == 8
    best = int(np.argmax(axes[0].images[0].get_array()[:, 0]))
    assert axes[0].get_yticklabels()[best].get_text() == "Fast (mine)"
    found = table_scores.differences(scores, "Fast (tiny)")
    figure, axes = table_plots.plot_differences(found, table_scores.compared(scores), "Fast (tiny)")
    assert [line.get_xdata()[0] > 0 for line in axes[0].lines if line.get_marker() == "o"] == [
        True, False, False]  # fmt: skip


@pytest.mark.slow
@pytest.mark.process
def test_the_page_of_a_table_stands_alone_and_plays_what_was_kept(tmp_path, sound):
    table = made({"<b>": 4, "ä ö": 3})
    fast = (table["method"] == "fast") & table["through_vae"]
    table["sound"] = [f"../kept/{f[:-4]}_fast_reconstruction.wav" if keep else None
                      for f, keep in zip(table["file"], fast, strict=True)]  # fmt: skip
    for file in table["file"].unique():
        (tmp_path / "kept" / file).parent.mkdir(parents=True, exist_ok=True)
        for name in ("original", "fast_reconstruction"):
            sf.write(tmp_path / "kept" / f"{file[:-4]}_{name}.wav", sound[:8000], 16000)
    failed = {"file": "no <i>sound</i>.wav", "domain": "ä ö", "error": "cannot be read"}
    (tmp_path / "tables").mkdir()
    write_table(
        pd.concat([table, pd.DataFrame([failed])]), tmp_path / "tables" / "my table.parquet"
    )
    done = in_process.run(
        "report", "tables/my table.parquet", "--output", "page.html", cwd=tmp_path
    )
    assert done.status == 0, done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert loads_from_elsewhere(page) == []
    assert machine_paths(page, tmp_path) == []
    assert "<i>sound" not in page
    assert page.count("data-vaerecon-player=") >= 6
    assert page.count('src="data:audio/wav;base64,') == 12  # six clips, original and method
    assert page.count('src="data:image/png;base64,') == 4
    body = page.partition("<body>")[2]
    order = ["7 of 8 clips", "cannot be read", "Recommended", 'id="Means"', "Distributions",
             'id="Groups"', 'id="Paired-differences"', "<audio", "keep in mind"]  # fmt: skip
    places = [body.index(text, body.index("</nav>")) for text in order]
    assert places == sorted(places)
