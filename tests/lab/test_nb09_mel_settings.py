"""What notebook 09 draws of a sweep, and its exercises."""

from __future__ import annotations

import pandas as pd
import pytest

from vaerecon.comparison.grid import mel_grid, pareto_front, setting_text
from vaerecon.lab.nb09_mel_settings import plots, solutions


def test_each_column_varies_one_setting_and_stars_audioldm2_s():
    configs = mel_grid({"n_fft": [512, 2048], "n_mels": [80]})
    rows = [
        {"setting": setting_text(c), "n_fft": c.n_fft, "n_mels": c.n_mels, "stoi": i / 10}
        for i, c in enumerate(configs)
    ]
    rows.append({"setting": "n_fft=512 n_mels=80", "n_fft": 512, "n_mels": 80, "stoi": 0.9})
    _, axes = plots.plot_settings(pd.DataFrame(rows), ["n_fft", "n_mels"], ["stoi"])
    curve, star = axes[0, 0].lines
    assert list(curve.get_xdata()) == [512, 1024, 2048]
    assert list(curve.get_ydata()) == [0.1, 0.0, 0.2]
    assert list(star.get_xdata()) == [1024]
    assert list(axes[0, 1].lines[0].get_xdata()) == [64, 80]
    assert axes[0, 1].get_xlabel() == "n_mels"
    assert axes[0, 0].get_ylabel() == "STOI ↑"


def test_the_front_of_the_exercise_is_the_package_s():
    points = [(2.0, 0.5), (1.0, 0.5), (3.0, 0.7), (3.0, 0.6), (9.0, 0.7)]
    table = pd.DataFrame(points, columns=["values_per_second", "stoi"])
    expected = pareto_front(table, "stoi").to_numpy().tolist()
    assert [list(point) for point in solutions.front(points)] == expected


WRONG = {
    "resolution": (lambda config: (1024 / 16000, 16000 / 1024), "window at n_fft 512"),
    "shortest_hop": (lambda config, budget: 160, "80 bins, 6400 values"),
    "front": (lambda points: sorted(points), "beats"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_gets_a_hint(name):
    answer, hint = WRONG[name]
    told = solutions.check_exercises(**{name: answer})
    assert told.startswith(f"- `{name}`: not yet: ")
    assert hint in told
