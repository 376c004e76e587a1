"""Notebook 06: its stored example answers, and the hints of its exercises."""

from __future__ import annotations

import pandas as pd
import pytest

from tools import example_answers
from vaerecon.lab.listening import statistics
from vaerecon.lab.nb06_listening_test import EXAMPLES
from vaerecon.lab.nb06_listening_test import solutions as solutions_06


@pytest.fixture(scope="module")
def stored() -> dict[str, pd.DataFrame]:
    return {
        name: statistics.read_results(EXAMPLES / name) for name in example_answers.make_examples()
    }


def test_the_stored_answers_are_those_of_the_seed(stored):
    for name, table in example_answers.make_examples().items():
        pd.testing.assert_frame_equal(stored[name], table)
    assert not stored["example_abx.csv"].equals(example_answers.make_examples(1)["example_abx.csv"])


def test_every_answer_is_marked_as_an_example(stored):
    names = {"listener", "item", "title", "a", "b"}
    for table in stored.values():
        for column in names & set(table):
            assert table[column].str.startswith("example").all()
    conditions = set(stored["example_mushra.csv"]["condition"])
    own = {statistics.HIDDEN_REFERENCE, statistics.ANCHOR}  # which the test itself adds
    assert all(name.startswith("example") for name in conditions - own)


def test_the_analysis_finds_what_was_put_in(stored):
    kept, excluded = statistics.post_screen(stored["example_mushra.csv"])
    assert excluded == [example_answers.CARELESS]
    assert list(statistics.mushra_summary(kept)["condition"]) == list(example_answers.SCORES)
    abx = statistics.abx_summary(stored["example_abx.csv"])
    for pair, share in example_answers.PAIRS.items():
        found = abx[(abx["a"] == pair[0]) & (abx["b"] == pair[1])]["p_value"]
        assert ((found < 0.05) == (share > 0.5)).all()


def test_the_solutions_agree_with_the_package():
    for n_trials in (5, 16, 25):
        needed = solutions_06.right_needed(n_trials)
        for right in (needed - 1, needed):
            score = statistics.abx_score("A" * n_trials, "A" * right + "B" * (n_trials - right))
            assert (score.p_value < 0.05) == (right == needed)
    assert solutions_06.right_needed(4) == 5  # no number is enough
    assert solutions_06.power(16, 0.5) == pytest.approx(2517 / 65536)  # that of a guesser


@pytest.mark.parametrize(
    ("name", "wrong", "hint"),
    [
        ("right_needed", lambda n_trials: n_trials // 2 + 1, "add up the chances"),
        ("power", lambda n_trials, share: share, "16 trials, share 0.7"),
        ("left_out", lambda ratings: ["a", "b", "d"], "3 of 20 are 15 %"),
        ("left_out", lambda ratings: ["b", "c", "d"], "90 is not below 90"),
        ("left_out", lambda ratings: ["d"], "expected b and d"),
    ],
)
def test_wrong_answers_get_a_hint(name, wrong, hint):
    assert hint in solutions_06.check_exercises(**{name: wrong})
