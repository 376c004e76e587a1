"""Listening tests: orders, scores against published tables and scipy, the anchor, files, pages."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

from vaerecon.lab.listening.statistics import (
    ABX_COLUMNS,
    ANCHOR,
    HIDDEN_REFERENCE,
    MUSHRA_COLUMNS,
    abx_order,
    abx_score,
    abx_summary,
    low_pass_anchor,
    mean_interval,
    mushra_conditions,
    mushra_order,
    mushra_summary,
    plot_abx,
    plot_mushra,
    post_screen,
    read_results,
)
from vaerecon.lab.listening.widgets import AbxTest, MushraTest


@pytest.fixture
def pair(sound):
    return {"original": sound, "after VAE": (0.3 * sound[::-1]).astype(np.float32)}


def right_and_wrong(correct: int, trials: int) -> tuple[str, str]:
    return "A" * trials, "A" * correct + "B" * (trials - correct)


# --- ABX ------------------------------------------------------------------------------------------


def test_the_order_is_a_fair_coin_that_follows_the_seed():
    assert abx_order(16, 3) == abx_order(16, 3)
    assert set(abx_order(16, 3)) == {"A", "B"}
    assert len({abx_order(16, seed) for seed in range(100)}) == 100  # of 65536: a repeat is odd
    share = abx_order(10000, 0).count("A") / 10000
    assert abs(share - 0.5) < 4 * 0.005  # four standard errors, for this one seed
    runs = abx_order(10000, 0).count("AA") / 10000  # no balancing: independent of the one before
    assert 0.15 < runs < 0.19  # non-overlapping AA of fair tosses: 1/6
    with pytest.raises(ValueError, match="n_trials: got 0"):
        abx_order(0, 1)


@pytest.mark.parametrize(
    ("correct", "trials", "p_value"),
    # sums of binomial coefficients over 2^n, as in every ABX table
    [
        (12, 16, 2517 / 65536),
        (9, 10, 11 / 1024),
        (5, 5, 1 / 32),
        (0, 8, 1.0),
        (8, 16, 39203 / 65536),
    ],
)
def test_p_values_are_those_of_the_abx_tables(correct, trials, p_value):
    score = abx_score(*right_and_wrong(correct, trials))
    assert (score.correct, score.trials) == (correct, trials)
    assert score.p_value == pytest.approx(p_value, rel=1e-9)  # exact but for float64
    wanted = sum(math.comb(trials, k) for k in range(correct, trials + 1)) / 2**trials
    assert score.p_value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("correct", "trials", "low", "high"),
    # Clopper-Pearson 95 %: published to 4 digits (0 of 10, 10 of 10: 1 - 0.025^(1/10))
    [
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        (12, 16, 0.4762, 0.9273),
    ],
)
def test_intervals_are_those_of_clopper_and_pearson(correct, trials, low, high):
    score = abx_score(*right_and_wrong(correct, trials))
    assert (score.low, score.high) == pytest.approx((low, high), abs=5e-5)  # 4 digits
    if 0 < correct < trials:  # the definition, by the beta distribution
        assert score.low == pytest.approx(stats.beta.ppf(0.025, correct, trials - correct + 1))
        assert score.high == pytest.approx(stats.beta.ppf(0.975, correct + 1, trials - correct))


def test_answers_are_compared_one_by_one():
    assert abx_score("ABBA", "ABAB").correct == 2
    for order, answers in (("AB", "A"), ("", ""), ("AX", "AB")):
        with pytest.raises(ValueError, match=r"ABX: got the order"):
            abx_score(order, answers)


def test_an_abx_test_runs_to_its_end_and_is_recorded(pair, tmp_path):
    file = tmp_path / "abx.csv"
    test = AbxTest(pair, n_trials=6, listener="NA", title="t <b>", csv=file, seed=4)
    assert test.order == abx_order(6, 4)
    for trial, x in enumerate(test.order):
        shown = test.player.matched
        assert test.player.labels == ["A", "B", "X"]
        assert (test.player.asks, test.player.can_reveal) == (False, False)
        assert shown.names == ["original", "after VAE", {"A": "original", "B": "after VAE"}[x]]
        pcm = np.frombuffer(test.player.pcm, "<i2").reshape(3, -1)
        assert (pcm[2] == pcm["AB".index(x)]).all()
        assert (pcm[2] != pcm["BA".index(x)]).any()
        assert f"trial {trial + 1} of 6" in test.heading.value
        assert test.news.value == ""  # no hint before the end
        assert not file.exists()  # whole tests only
        test.buttons["AB".index(x)].click() if trial else test.answer("AB"["BA".index(x)])
    assert test.score == abx_score(test.order, test.answers)
    assert test.score.correct == 5
    assert "5 of 6 right" in test.news.value
    assert "p = 0.109" in test.news.value  # 7/64
    assert all(button.disabled for button in test.buttons)
    test.answer("A")  # after the end: nothing
    assert len(test.answers) == 6
    table = read_results(file)
    assert tuple(table.columns) == ABX_COLUMNS
    row = table.iloc[0]
    assert (row.listener, row.seed, row.order, row.answers) == ("NA", 4, test.order, test.answers)
    assert (row.title, row.a, row.b) == ("t <b>", "original", "after VAE")
    assert "<b>" not in test.heading.value.removeprefix("<b>")


def test_a_summary_adds_the_tests_of_a_listener_up(pair, tmp_path):
    file = tmp_path / "abx.csv"
    for listener, wrong in (("ann", 0), ("ann", 2), ("bob", 4)):
        test = AbxTest(pair, n_trials=8, listener=listener, csv=file, seed=wrong)
        for trial, x in enumerate(test.order):
            test.answer("BA"["AB".index(x)] if trial < wrong else x)
    summary = abx_summary(read_results(file))
    assert list(summary["listener"]) == ["ann", "bob"]
    assert list(summary["correct"]) == [14, 4]
    assert list(summary["trials"]) == [16, 8]
    assert summary["p_value"][0] == pytest.approx(abx_score(*right_and_wrong(14, 16)).p_value)
    figure, ax = plot_abx(summary)
    points = [container[0] for container in ax.containers]
    assert [float(point.get_xdata()[0]) for point in points] == [14 / 16, 0.5]
    assert len(ax.get_yticklabels()) == 2
    assert plot_abx(summary, ax)[0] is figure


def test_a_result_that_cannot_be_written_is_not_lost(pair, tmp_path):
    file = tmp_path / "taken.csv"
    file.write_text("something,else\n")
    test = AbxTest(pair, n_trials=1, csv=file)
    test.answer("A")
    assert "Not recorded" in test.news.value
    assert test.score is None
    file.unlink()
    test.answer("A")
    assert test.score is not None
    assert len(read_results(file)) == 1


def test_abx_compares_two(sound, pair):
    with pytest.raises(ValueError, match=r"tracks: got \['a'\], expected two"):
        AbxTest({"a": sound})
    with pytest.raises(ValueError, match=r"tracks: got ndarray, expected two .* by name") as error:
        AbxTest(sound, sound[::-1])
    assert len(str(error.value)) < 100  # and not every sample
    with pytest.raises(ValueError, match="items: got ndarray, expected at least one"):
        MushraTest(sound)
    with pytest.raises(ValueError, match=r"answer: got 'C'"):
        AbxTest(pair).answer("C")


# --- MUSHRA: conditions ---------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_anchor_is_a_low_pass_as_recommended(rate):
    """BS.1534-3: within 0.1 dB below 3.5 kHz, at least 25 dB down at 4 kHz, 50 dB at 4.5 kHz."""
    impulse = np.zeros(8192)
    impulse[4096] = 1
    response = low_pass_anchor(impulse, rate)
    assert response.dtype == np.float32
    hz, spectrum = signal.freqz(response, worN=8192, fs=rate)
    decibels = 20 * np.log10(np.abs(spectrum) + 1e-12)
    assert np.abs(decibels[hz <= 3500]).max() < 0.1
    assert decibels[hz >= 4000].max() < -25
    assert decibels[hz >= 4500].max() < -50
    # no delay: symmetric about the impulse (float32)
    np.testing.assert_allclose(response[1:4096], response[:4096:-1], atol=1e-7)


def test_the_anchor_keeps_length_and_step(sound):
    t = np.arange(16000) / 16000
    low, high = np.sin(2 * np.pi * 1000 * t), np.sin(2 * np.pi * 5000 * t)
    anchor = low_pass_anchor(low + high)
    inner = slice(200, -200)  # the filter's 59 samples of ends, and a margin
    np.testing.assert_allclose(anchor[inner], low[inner], atol=2e-3)  # 60 dB of 1
    for n in (1, 30, 16000):
        assert low_pass_anchor(sound[:n]).shape == (n,)
    with pytest.raises(ValueError, match="more than 8000 Hz"):
        low_pass_anchor(sound, 8000)
    with pytest.raises(ValueError, match=r"expected \[N\]"):
        low_pass_anchor(np.zeros((2, 100)))


def test_conditions_hold_the_reference_the_anchor_and_the_rest_at_one_level(sound, pair):
    matched = mushra_conditions(pair, "original")
    found = {track.name: track.samples for track in matched.tracks}
    assert list(found) == [HIDDEN_REFERENCE, ANCHOR, "after VAE"]
    np.testing.assert_array_equal(found[HIDDEN_REFERENCE], sound)
    np.testing.assert_allclose(found[ANCHOR], low_pass_anchor(sound), atol=1e-7)  # float32
    assert np.std(found["after VAE"]) == pytest.approx(np.std(sound), rel=1e-4)  # float32
    with pytest.raises(ValueError, match="names that the test adds itself"):
        mushra_conditions({**pair, ANCHOR: sound}, "original")
    loud = mushra_conditions({"original": sound / np.abs(sound).max()}, "original")
    assert max(np.abs(t.samples).max() for t in loud.tracks) < 1


def test_the_order_of_conditions_differs_by_item_and_follows_the_seed():
    names = ["a", "b", "c", "d"]
    assert mushra_order(names, 2, 7) == mushra_order(names, 2, 7)
    orders = {tuple(mushra_order(names, item, 7)) for item in range(300)}
    assert len(orders) == 24  # every order occurs: a missed one has probability 24 (23/24)^300
    assert all(sorted(order) == names for order in orders)


# --- MUSHRA: statistics ---------------------------------------------------------------------------


def test_the_interval_is_students():
    scores = [83, 91, 77, 68, 95, 88, 72, 90]
    mean, low, high = mean_interval(scores)
    interval = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert mean == pytest.approx(83.0)
    assert (low, high) == pytest.approx((interval.low, interval.high))
    # by hand: t(0.975, 1) = 12.7062, s/sqrt(2) = 5, so 50 +- 63.531
    assert mean_interval([45, 55]) == pytest.approx((50, -13.531, 113.531), abs=1e-3)
    assert mean_interval([70, 70, 70]) == (70, 70, 70)
    single = mean_interval([42])
    assert single[0] == 42
    assert np.isnan(single[1:]).all()
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def ratings(listener: str, hidden: list[int]) -> pd.DataFrame:
    """A listener's ratings of one item for each score of the hidden reference."""
    rows = [
        {"listener": listener, "item": f"item {i}", "condition": condition, "score": score}
        for i, h in enumerate(hidden)
        for condition, score in ((HIDDEN_REFERENCE, h), (ANCHOR, 20 + i), ("vocoder", 60))
    ]
    return pd.DataFrame(rows)


def test_listeners_who_miss_the_reference_in_more_than_15_percent_are_left_out():
    table = pd.concat(
        [
            ratings("3 of 20", [89] * 3 + [100] * 17),  # 15 % exactly: stays
            ratings("4 of 20", [89] * 4 + [100] * 16),
            ratings("just 90", [90] * 20),  # 90 is not below 90
            ratings("1 of 2", [10, 100]),
        ]
    )
    kept, excluded = post_screen(table)
    assert excluded == ["1 of 2", "4 of 20"]
    assert set(kept["listener"]) == {"3 of 20", "just 90"}
    assert len(kept) == 2 * 60
    same, nobody = post_screen(kept)
    assert nobody == []
    pd.testing.assert_frame_equal(same, kept)


def test_the_summary_is_mean_and_interval_by_condition():
    table = pd.concat([ratings("a", [100, 96]), ratings("b", [98, 94])])
    summary = mushra_summary(table)
    assert list(summary["condition"]) == [HIDDEN_REFERENCE, "vocoder", ANCHOR]
    best = summary.iloc[0]
    assert (best["mean"], best["low"], best["high"]) == pytest.approx(
        mean_interval([100, 96, 98, 94])
    )
    assert list(summary["ratings"]) == [4, 4, 4]
    assert list(summary["listeners"]) == [2, 2, 2]
    figure, ax = plot_mushra(summary)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(summary["condition"])
    assert [c[0].get_xdata()[0] for c in ax.containers] == list(summary["mean"])
    assert plot_mushra(mushra_summary(ratings("a", [99])), ax)[0] is figure  # single ratings


# --- MUSHRA: page and file ------------------------------------------------------------------------


def test_a_mushra_test_runs_through_its_items_and_is_recorded(sound, pair, tmp_path):
    file = tmp_path / "mushra.csv"
    items = {"one": pair, "two": {k: v[::-1].copy() for k, v in pair.items()}, "three": pair}
    test = MushraTest(items, listener="007", csv=file, seed=11)
    assert sorted(test.item_order) == sorted(items)
    scores = {HIDDEN_REFERENCE: 100, ANCHOR: 20, "after VAE": 70}
    seen = []
    for page in range(3):
        assert f"item {page + 1} of 3: {test.item}" in test.heading.value
        assert test.player.labels == ["Reference", "A", "B", "C"]
        assert (test.player.asks, test.player.can_reveal) == (False, False)
        assert test.player.picture == b""
        assert test.player.matched.names == [HIDDEN_REFERENCE, *test.order]
        assert test.order == mushra_order([HIDDEN_REFERENCE, ANCHOR, "after VAE"], page, 11)
        test.submit()
        assert test.news.value == "Not rated yet: A, B, C"
        for name, slider in zip(test.order, test.sliders.values(), strict=True):
            slider.value = scores[name]
        seen.append(test.item)
        test.button.click()
    assert seen == test.item_order
    assert test.button.disabled
    test.submit()  # after the end: nothing
    table = read_results(file)
    assert tuple(table.columns) == MUSHRA_COLUMNS
    assert len(table) == len(test.ratings) == 9
    assert set(table["listener"]) == {"007"}
    assert (table["score"] == table["condition"].map(scores)).all()
    assert list(table["item"].unique()) == seen
    assert set(table["label"]) == {"A", "B", "C"}
    assert (table["seed"] == 11).all()
    assert list(mushra_summary(post_screen(table)[0])["mean"]) == [100, 70, 20]
    with pytest.raises(ValueError, match="items: got none"):
        MushraTest({})


def test_a_rating_of_the_middle_must_be_meant(pair):
    test = MushraTest({"one": pair}, seed=1)
    test.sliders["A"].value = 60
    test.sliders["A"].value = 50  # moved there and back
    test.submit()
    assert test.news.value == "Not rated yet: B, C"


def test_seeds_are_drawn_where_none_is_given_and_recorded(pair, tmp_path):
    file = tmp_path / "abx.csv"
    seeds = set()
    for _ in range(3):
        test = AbxTest(pair, n_trials=1, csv=file)
        test.answer("A")
        seeds.add(test.seed)
    assert len(seeds) == 3  # of 2^31
    assert set(read_results(file)["seed"]) == seeds


def test_files_that_are_no_results_are_refused(tmp_path):
    file = Path(tmp_path / "x.csv")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"x.csv: got the columns \['a', 'b'\]"):
        read_results(file)
    row = {c: "0" for c in MUSHRA_COLUMNS} | {"score": "101"}
    pd.DataFrame([row]).to_csv(file, index=False)
    with pytest.raises(ValueError, match="scores outside 0 to 100"):
        read_results(file)
