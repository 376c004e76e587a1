"""The comparison notebook's unit: runs, tables, budget, choice, pictures, explorer, exercises."""

from __future__ import annotations

import datetime
import math
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.installed import is_installed
from helpers.sounds import make_sound

from vaerecon import metrics
from vaerecon.audio.clip import Clip, write_wav
from vaerecon.lab import tables
from vaerecon.lab.nb04_method_comparison import (
    choice,
    comparison,
    error_budget,
    plots,
    validity,
)
from vaerecon.lab.nb04_method_comparison import solutions as solutions_04
from vaerecon.metrics import recommendation
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.plots import METHOD_COLORS

METHODS = ("vocoder", "griffinlim", "hybrid")
NOT_COMPUTED = ["visqol"] if is_installed("pesq") else ["visqol", "pesq_wb"]  # visqol is slow


@pytest.fixture(scope="module")
def results(tiny):
    """Two clips; the second is too short for PESQ, STOI and ESTOI."""
    speech = comparison.load_clips("demo_speech", 1.5)[0].samples
    clips = [Clip(speech, 16000, "long"), Clip(make_sound(0.2, seed=1), 16000, "short")]
    return comparison.run_comparison(tiny, clips, METHODS)


@pytest.fixture(scope="module")
def scores(results) -> pd.DataFrame:
    return tables.score_table(results)


def made_up(values: dict[str, list[dict[str, float]]], cost: dict[str, float]) -> pd.DataFrame:
    """A table through the VAE: method -> for each clip, its metrics."""
    rows = [
        {"clip": f"clip{i}", "method": name, "vae": True, "seconds": 1.0,
         "real_time_factor": cost[name], **clip}
        for name, clips in values.items()
        for i, clip in enumerate(clips)
    ]  # fmt: skip
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ runs


def test_no_clip_named_means_all_bundled_ones_cut_to_length():
    clips = comparison.load_clips([], 0.5)
    assert [c.name for c in clips] == ["demo_electronic", "demo_ensemble", "demo_speech"]
    assert {len(c.samples) for c in clips} == {8000}


def test_clips_of_one_name_get_different_ones(tmp_path, sound):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write_wav(tmp_path / folder / "song.wav", sound)
    named = [str(tmp_path / folder / "song.wav") for folder in "ab"]
    assert [c.name for c in comparison.load_clips(named)] == ["song", "song (2)"]
    assert [c.name for c in comparison.load_clips(named[0])] == ["song"]


@pytest.mark.slow
def test_references_are_always_run_and_never_chosen(results, scores):
    assert list(results[0].methods) == [*METHODS, *comparison.REFERENCES]
    assert tables.candidates(scores) == list(METHODS)


def test_references_alone_are_refused(tiny, clip):
    with pytest.raises(ValueError, match=r"got silence, oracle_phase.*expected at least one of"):
        comparison.run_comparison(tiny, [clip], "silence,oracle_phase")


def test_no_clips_are_refused(tiny):
    with pytest.raises(ValueError, match="clips: got none"):
        comparison.run_comparison(tiny, [], "vocoder")


def test_a_silent_clip_is_refused_by_name(tiny, clip):
    silent = Clip(np.full(8000, 0.1, np.float32), 16000, "pause")  # constant: no sound either
    with pytest.raises(ValueError, match="got only silence in pause"):
        comparison.run_comparison(tiny, [clip, silent], "vocoder")


def test_the_description_names_clips_and_methods(results):
    text = comparison.describe_run(results)
    assert text.startswith("2 clips: **long** (1.5 s), **short** (0.2 s). Model: tiny, ")
    assert "Methods: Vocoder, Griffin-Lim, Vocoder + Griffin-Lim. " in text


# ------------------------------------------------------------------ tables


def test_the_table_has_a_row_a_sound_and_no_metric_that_nobody_computed(scores):
    assert len(scores) == 2 * 2 * (len(METHODS) + 3)
    assert not set(NOT_COMPUTED) & set(scores)
    assert tables.scored_metrics(scores) == [m for m in METRICS if m not in NOT_COMPUTED]


def test_means_say_how_many_clips_were_scored(scores):
    table = tables.mean_table(scores, through_vae=True)
    assert all(text.endswith("(1 of 2)") for text in table.loc[["Vocoder"], "ESTOI ↑"])
    assert "of" not in table.loc["Vocoder", "LSD (dB) ↓"]
    assert table.loc["Silence", "Correlation ↑"] == "no value"


def test_the_best_candidate_is_bold_and_a_ceiling_never(scores):
    column = tables.mean_table(scores, True, ["lsd_db"])["LSD (dB) ↓"]
    means = scores[scores["vae"]].groupby("method")["lsd_db"].mean()
    assert means["oracle_magnitude"] < means[list(METHODS)].min()
    assert not column["Oracle magnitude"].startswith("**")
    bold = {text for text in column if text.startswith("**")}
    assert bold == {f"**{means[list(METHODS)].min():.1f}**"}


@pytest.mark.needs("pesq")
def test_the_words_say_whether_the_ceiling_holds(scores):
    text = tables.ceiling_text(scores)
    assert text.startswith("No method passes the oracle phase on any clip, with or without the VAE")
    assert text.endswith("in SI-SDR, LSD, Spectral convergence, MR-STFT, PESQ-WB, STOI, ESTOI.")
    # inverted: a method that is better than the ceiling, where lower and where higher is better
    row = (scores["method"] == "griffinlim") & (scores["clip"] == "long") & ~scores["vae"]
    for metric, value in (("lsd_db", 0.0), ("estoi", 1.1)):
        text = tables.ceiling_text(scores.assign(**{metric: scores[metric].where(~row, value)}))
        passed = f"by Griffin-Lim in {METRICS[metric].label} on long, no VAE."
        assert text == f"The oracle phase is **no ceiling** here. It is passed {passed}"


def test_markdown_survives_a_bar_in_a_name():
    table = pd.DataFrame({"a|b": [1]}, index=pd.Index(["x|y"], name="clip"))
    assert tables.as_markdown(table).splitlines()[0] == r"| clip | a\|b |"
    assert tables.as_markdown(table).splitlines()[2] == r"| x\|y | 1 |"


def test_the_listening_set_begins_with_the_original_and_has_one_length(results):
    sounds = comparison.listening_set(results[0])
    assert next(iter(sounds)) == "original"
    assert {len(x) for x in sounds.values()} == {24000}
    assert len(sounds) == 1 + len(METHODS) + 2


# ------------------------------------------------------------------ signal-to-noise


def test_silence_beats_every_method_by_snr_and_none_by_log_mel(scores):
    with pytest.raises(ValueError, match=r"Vocoder .*0\.00 dB of digital silence"):
        validity.check_beats_silence(scores, "snr_db")
    validity.check_beats_silence(scores, "log_mel_mae")


@pytest.mark.parametrize("gain_db", [-20.0, 0.0, 8.0])
def test_loudness_follows_from_snr_and_correlation(gain_db):
    rng = np.random.default_rng(0)
    reference, noise = (x - x.mean() for x in rng.standard_normal((2, 4000)))
    noise *= np.std(reference) / np.std(noise) * 10 ** (gain_db / 20)
    snr = metrics.snr_db(reference, noise)
    assert snr < 0
    found = validity.implied_gain_db(snr, metrics.correlation(reference, noise))
    # the identity is exact; what is left is float32 input to both metrics
    assert found == pytest.approx(gain_db, abs=1e-3)


def test_loudness_has_no_single_answer_from_0_db_on():
    with pytest.raises(ValueError, match="two gains fit"):
        validity.implied_gain_db(1.5, 0.8)


@pytest.mark.slow
def test_the_guides_claim_of_speed_stands_beside_our_times(results):
    state = torch.get_rng_state()
    table = validity.speed_table(results, seconds=0.2)
    assert torch.equal(torch.get_rng_state(), state)
    guide, ours, full_size = table.to_numpy()  # librosa was not among the methods
    assert list(guide) == pytest.approx([0.05 / 5, 0.95 / 5, 0.95 / 0.05])
    long, short = (
        [r.methods[name].seconds / r.clip.duration for name in ("vocoder", "griffinlim")]
        for r in results
    )
    assert list(ours[:2]) == pytest.approx([(a + b) / 2 for a, b in zip(long, short, strict=True)])
    assert full_size[2] == pytest.approx(full_size[1] / full_size[0])


def test_the_guide_compared_loudness(results):
    table = validity.guide_table(results)
    assert list(table.loc["Griffin-Lim, in the guide"])[:3] == ["-0.01", "-0.0063", "0.147"]
    assert table.loc["Silence, here", "loudness"] == "silent"
    assert "librosa, here" not in table.index  # it was not run
    # RMSE * 10^(SNR/20) is the RMS of the original, the same in both rows of the guide
    levels = [e * 10 ** (s / 20) for s, _, e, _ in validity.GUIDE.values()]
    assert levels[0] == pytest.approx(levels[1], rel=0.005)  # they are printed with three digits


def test_snr_tends_to_that_of_silence_as_the_volume_goes_down(results):
    sound = results[0].methods["griffinlim"].samples
    turned = validity.snr_at_gains(results[0].reference, sound, [-120, 0])
    assert turned[0] == pytest.approx(0, abs=1e-4)  # an amplitude of 1e-6
    assert turned[1] == pytest.approx(results[0].methods["griffinlim"].scores["snr_db"], abs=1e-3)


def test_another_seed_moves_griffin_lim_and_not_the_vocoder(tiny, clip):
    moved = validity.seed_spread(tiny, clip, n_seeds=2)
    still = validity.seed_spread(tiny, clip, "vocoder", n_seeds=2)
    assert moved["si_sdr_db"] > 0.01
    assert still["si_sdr_db"] == 0
    assert "visqol" not in moved


def test_notes_tell_what_silence_scores(scores):
    notes = validity.metric_notes(scores, {"lsd_db": 0.0123})
    assert notes.loc["SNR (dB) ↑", "silence"] == "0.00"
    assert notes.loc["SI-SDR (dB) ↑", "silence"] == "no value"
    assert notes.loc["LSD (dB) ↓", "another seed: ±"] == "0.012"
    assert notes.loc["MR-STFT ↓", "another seed: ±"] == "not tried"


def test_rank_correlation_turns_metrics_so_that_more_is_better():
    n = range(5)
    names = ("vocoder", "griffinlim", "hybrid", "admm", "librosa")
    table = made_up(
        {m: [{"lsd_db": i, "estoi": -i, "snr_db": i}] for i, m in zip(n, names, strict=True)},
        dict.fromkeys(names, 0.1),
    )
    found = validity.rank_correlation(table)
    assert found.loc["lsd_db", "estoi"] == pytest.approx(1)
    assert found.loc["lsd_db", "snr_db"] == pytest.approx(-1)
    few = validity.rank_correlation(table[table["method"].isin(names[:3])])
    assert few.isna().all(axis=None)


# ------------------------------------------------------------------ the error budget


@pytest.fixture(scope="module")
def budget(results) -> pd.DataFrame:
    return error_budget.error_budget(results)


def test_the_budget_adds_up_for_every_method_and_clip(budget):
    assert np.allclose(budget[list(error_budget.SHARES)].sum(axis=1), budget["vae / own"])
    means = error_budget.mean_budget(budget, "lsd_db")
    assert list(means.index) == list(METHODS)
    assert (means["clips"] == 2).all()


def test_a_clip_without_a_score_is_left_out_of_the_budget_and_counted(budget):
    assert set(budget.loc[budget["metric"] == "estoi", "clip"]) == {"long"}
    assert "(1 clip)" in error_budget.budget_text(budget, "estoi")
    assert error_budget.budget_text(budget[:0]).startswith("No clip has all the scores")


# ------------------------------------------------------------------ the recommendation


def recommended(table: pd.DataFrame) -> list[recommendation.Recommendation]:
    return recommendation.recommend(table, tables.candidates(table))


@pytest.mark.parametrize(("wins", "losses", "p"), [(6, 0, 2 / 64), (5, 0, 2 / 32), (2, 2, 1.0)])
def test_sign_test(wins, losses, p):
    assert recommendation.sign_test(wins, losses) == pytest.approx(p)


def test_small_differences_are_ties_and_missing_values_are_nobodys_loss():
    table = made_up(
        {
            "vocoder": [{"lsd_db": 9.00, "pesq_wb": 1.0}, {"lsd_db": 9.0, "pesq_wb": math.nan}],
            "griffinlim": [{"lsd_db": 9.04, "pesq_wb": 3.0}, {"lsd_db": 8.0, "pesq_wb": 2.0}],
            "hybrid": [{"lsd_db": 12.0, "pesq_wb": 2.0}, {"lsd_db": 7.0, "pesq_wb": 2.0}],
        },
        dict.fromkeys(METHODS, 0.1),
    )
    found = recommendation.ranks(table, ["lsd_db"], METHODS)
    assert found.loc["clip0"].tolist() == [1.5, 1.5, 3]
    assert found.loc["clip1"].tolist() == [3, 2, 1]
    both = recommendation.ranks(table, ["lsd_db", "pesq_wb"], METHODS)
    assert both.loc["clip0"].tolist() == [2.25, 1.25, 2.5]
    assert both.loc["clip1"].tolist() == [3, 2, 1]  # by LSD alone


def test_the_choice_keeps_to_the_budget_and_says_how_sure_it_is():
    good, bad = {"lsd_db": 5.0, "estoi": 0.9}, {"lsd_db": 9.0, "estoi": 0.5}
    cost = {"vocoder": 0.05, "librosa": 3.0}
    for n, verdict in ((3, "too few clips to be sure"), (6, "clear")):
        table = made_up({"vocoder": [bad] * n, "librosa": [good] * n}, cost)
        quick, _, free = recommended(table)[:3]
        assert (quick.method, quick.certainty) == ("vocoder", "the only candidate")
        assert (free.method, free.runner_up, free.certainty) == ("librosa", "vocoder", verdict)
    slow = made_up({"librosa": [good]}, {"librosa": 3.0})
    assert [r.method for r in recommended(slow)[:3]] == [
        None,
        None,
        "librosa",
    ]
    assert recommended(slow)[0].certainty == "none is fast enough"


def test_a_winner_that_loses_as_often_as_it_wins_is_a_draw():
    a = [{"lsd_db": v} for v in (5.0, 9.0)]
    b = [{"lsd_db": v} for v in (9.0, 5.0)]
    table = made_up({"vocoder": a, "griffinlim": b}, {"vocoder": 0.05, "griffinlim": 0.05})
    found = next(
        r
        for r in recommendation.recommend(table, tables.candidates(table))
        if r.panel == "music and other sound"
    )
    assert (found.wins, found.losses, found.certainty) == (1, 1, "a draw")


def test_the_words_say_that_panels_and_clips_disagree_and_clips_are_few():
    table = made_up(
        {
            "vocoder": [{"lsd_db": 9.0, "estoi": 0.9}] * 3,
            "griffinlim": [{"lsd_db": 5.0, "estoi": 0.5}] * 2 + [{"lsd_db": 5.0, "estoi": 0.95}],
        },
        {"vocoder": 0.05, "griffinlim": 0.05},
    )
    text = choice.recommendation_text(table, recommended(table))
    assert "For speech, time aside: **Vocoder**" in text
    assert "For music and other sound, time aside: **Griffin-Lim**" in text
    assert "disagree: choose by use" in text
    assert "Vocoder on clip0, Vocoder on clip1, Griffin-Lim on clip2" in text
    assert "3 clips cannot settle it" in text
    assert "from 6 clips on" in text
    alone = choice.recommendation_text(table[table["method"] == "vocoder"], [])
    assert alone == "There was one method only, so nothing to choose from."


def test_only_what_is_not_beaten_in_both_is_worth_its_cost():
    values = {
        "vocoder": [{"lsd_db": 9.0}],
        "griffinlim": [{"lsd_db": 7.0}],
        "hybrid": [{"lsd_db": 8.0}],  # dearer than griffinlim and worse
        "librosa": [{"lsd_db": 6.0}],
    }
    cost = {"vocoder": 0.01, "griffinlim": 0.1, "hybrid": 0.2, "librosa": 1.0}
    table = made_up(values, cost)
    assert recommendation.pareto(table, "lsd_db", tables.candidates(table)).index.tolist() == [
        "vocoder",
        "griffinlim",
        "librosa",
    ]


def test_the_summary_is_finite(results, scores, budget):
    facts = choice.summary(results, {"si_sdr_db": 7.0}, budget)
    assert all(math.isfinite(value) for value, _ in facts.values())
    assert facts["sounds_scored"] == (len(scores), "")
    assert facts["methods_behind_silence"][0] == 3
    assert sum(facts[f"{s}_share_of_lsd"][0] for s in error_budget.SHARES) == pytest.approx(1)


# ------------------------------------------------------------------ pictures


def test_the_spread_has_every_clip_and_keeps_colours(scores):
    figure, axes = plots.plot_spread(scores, ["lsd_db", "snr_db"])
    ax = axes.flat[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "Vocoder", "Griffin-Lim", "Vocoder + Griffin-Lim",
    ]  # fmt: skip
    assert ax.get_xlabel() == "LSD (dB) ↓"
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in points) == 2 * 2 * len(METHODS)
    assert {line.get_markeredgecolor() for line in points} == {METHOD_COLORS[n] for n in METHODS}
    assert len(figure.legends) == 1


def test_bars_of_the_budget_are_as_long_as_the_loss(budget):
    _, axes = plots.plot_budget(budget)
    metrics = budget["metric"].unique()
    assert set(metrics) == {m.name for m in METRICS.values() if m.panels} - set(NOT_COMPUTED)
    assert [ax.get_visible() for ax in axes.flat].count(True) == len(metrics)
    for ax, metric in zip(axes.flat[: len(metrics)], metrics, strict=True):
        means = error_budget.mean_budget(budget, metric)
        widths = np.array([p.get_width() for p in ax.patches]).reshape(len(METHODS), 3)
        assert np.allclose(widths, means[list(error_budget.SHARES)])
        assert np.allclose(widths.sum(axis=1), means["vae / own"])


def test_quality_goes_up_whatever_the_metric(scores):
    _, axes = plots.plot_cost(scores)
    assert axes[0].yaxis_inverted()  # LSD: lower is better
    assert not axes[1].yaxis_inverted()  # ESTOI
    assert all(ax.get_xscale() == "log" for ax in axes)


def test_a_difference_that_nobody_hears_does_not_fill_an_axis(scores):
    near = scores.assign(lsd_db=9.0 + 1e-4 * np.arange(len(scores)))
    low, high = plots.plot_clips(near, "lsd_db")[1].get_xlim()
    assert high - low == pytest.approx(METRICS["lsd_db"].span)
    assert all(metric.span > 0 for metric in METRICS.values())


# ------------------------------------------------------------------ several models


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """The results of ``tiny`` and of the same with another decoder, and the last pipeline."""
    other = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
    with torch.no_grad():
        other.vae.decoder.conv_out.weight.mul_(0.8)
    folder = tmp_path_factory.mktemp("models") / "mine"
    other.save_pretrained(folder)
    clips = comparison.load_clips("demo_speech", 1.0)
    return comparison.run_models(["tiny", str(folder)], clips, "vocoder,griffinlim")


BOTH = ["vocoder (tiny)", "griffinlim (tiny)", "vocoder (mine)", "griffinlim (mine)"]


@pytest.mark.slow
def test_of_several_models_every_method_has_its_model_in_its_name(two_models):
    pipe, results = two_models
    assert pipe.source == "mine"
    scores = tables.score_table(results)
    assert tables.candidates(scores) == BOTH
    assert list(scores["method"]).count("silence") == 2  # through the VAE, and around it
    table = tables.mean_table(scores, through_vae=True)
    assert list(table.index[:2]) == ["Vocoder (tiny)", "Griffin-Lim (tiny)"]
    assert {"Oracle phase (mine)", "Silence"} < set(table.index)
    error = scores[scores["vae"]].set_index("method")["log_mel_mae"]
    assert error["griffinlim (mine)"] > error["griffinlim (tiny)"]
    found = [r.methods["griffinlim"].scores["log_mel_mae"] for r in results]
    assert list(error[BOTH[1::2]]) == found
    around = scores[~scores["vae"]].set_index("method")["log_mel_mae"]
    assert around["griffinlim (mine)"] == around["griffinlim (tiny)"]  # no VAE


@pytest.mark.slow
def test_of_several_models_words_and_tables_name_the_model(two_models):
    results = two_models[1]
    scores, budget = tables.score_table(results), error_budget.error_budget(results)
    assert "1 clip: " in comparison.describe_run(results)
    assert "Models: tiny, with " in comparison.describe_run(results)
    assert "; custom, mine, with " in comparison.describe_run(results)
    assert "**Griffin-Lim (mine)** loses" in error_budget.budget_text(budget)
    assert "Vocoder (mine), here" in validity.guide_table(results).index
    assert "mine, on cpu; Griffin-Lim" in validity.speed_table(results, seconds=0.1).index
    assert "tiny)** (" in choice.recommendation_text(scores, recommended(scores))
    facts = choice.summary(results, {}, budget)
    assert facts["clips"][0] == 1
    assert facts["sounds_scored"][0] == len(scores) == 2 * (2 * 3 + 2)
    # a ceiling bounds the methods of its own model
    ahead = (scores["method"] == "vocoder (mine)") & scores["vae"]
    text = tables.ceiling_text(scores.assign(lsd_db=scores["lsd_db"].where(~ahead, 0.0)))
    assert "Vocoder (mine) in LSD on demo_speech" in text


def test_of_several_models_pictures_show_each_by_its_mark(two_models):
    scores = tables.score_table(two_models[1])
    figure, axes = plots.plot_spread(scores, ["lsd_db"])
    assert [t.get_text() for t in axes[0, 0].get_yticklabels()] == list(map(tables.label, BOTH))
    assert {"tiny", "mine"} < {t.get_text() for t in figure.legends[0].get_texts()}
    for draw in (plots.plot_cost, plots.plot_clips):
        figure, axes = draw(scores)
        lines = np.ravel(axes)[0].lines
        drawn = {(line.get_markeredgecolor(), line.get_marker()) for line in lines}
        assert {
            (METHOD_COLORS[m], mark) for m in ("vocoder", "griffinlim") for mark in "os"
        } <= drawn
        assert {"tiny", "mine"} < {t.get_text() for t in figure.legends[0].get_texts()}
    budget = error_budget.error_budget(two_models[1])
    ticks = plots.plot_budget(budget)[1][0, 0].get_yticklabels()
    assert [t.get_text() for t in ticks] == list(map(tables.label, BOTH))


# ------------------------------------------------------------------ the explorer


@pytest.fixture
def explorer(tiny, results):
    box = comparison.explorer_comparison(tiny, results, max_length=0.6)
    (metric, own), note, source, picture = box.children[0].children, *box.children[1:]
    return metric, own.upload, note, source, picture


def test_another_metric_or_source_redraws(explorer):
    metric, _, _, source, picture = explorer
    seen = [picture.value]
    metric.value = "lsd_db"
    seen.append(picture.value)
    source.value = "through the VAE"
    seen.append(picture.value)
    assert all("data:image/png;base64,iVBOR" in data for data in seen)
    assert len(set(seen)) == 3


def uploaded(path) -> dict:
    return {"name": path.name, "type": "audio/wav", "size": path.stat().st_size,
            "content": memoryview(path.read_bytes()), "last_modified": None}  # fmt: skip


@pytest.mark.process
def test_an_uploaded_clip_joins_and_a_bad_one_is_refused_in_place(
    explorer, results, tmp_path, sound
):
    _, upload, note, _, picture = explorer
    before, n_results = picture.value, len(results)
    write_wav(tmp_path / "long.wav", sound)  # a name that is taken
    (tmp_path / "noise.wav").write_bytes(b"no sound at all")
    now = datetime.datetime.now(tz=datetime.UTC)
    upload.value = ({**uploaded(tmp_path / "long.wav"), "last_modified": now},)
    assert note.value == "added, 0.6 s: long (again)"
    assert picture.value != before
    assert len(results) == n_results
    upload.value = ({**uploaded(tmp_path / "noise.wav"), "last_modified": now},)
    assert note.value.startswith("<b>Not added.</b> ")
    assert "noise.wav" in note.value
    assert tempfile.gettempdir() not in note.value


# ------------------------------------------------------------------ the exercises


def test_the_best_volume_is_the_best(results):
    reference, sound = results[0].reference, results[0].methods["oracle_phase"].samples
    sound = sound - sound.mean()
    turned = validity.snr_at_gains(reference, sound, np.linspace(-10, 10, 401))
    wanted = solutions_04.best_snr_db(metrics.correlation(reference, sound))
    assert max(turned) == pytest.approx(wanted, abs=0.01)  # steps of 0.05 dB around the top


def test_wrong_answers_get_a_hint():
    text = solutions_04.check_exercises(
        best_snr_db=lambda c: 0.0,
        clips_needed=lambda p: math.ceil(math.log2(1 / p)),  # one-sided
        my_method=lambda mel, n, g: torch.zeros(*mel.shape[:-2], n),
    )
    assert "coherent in part" in text
    assert "one-sided" in text
    assert "the sound has another mel" in text
    unseeded = solutions_04.check_exercises(
        best_snr_db=lambda c: 1 / 0,
        clips_needed=lambda p: 3,
        my_method=lambda mel, n, g: torch.rand(*mel.shape[:-2], n),
    )
    assert "stopped with a ZeroDivisionError" in unseeded
    assert "draw from `generator` only" in unseeded
