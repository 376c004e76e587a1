"""Sensitivity of a method to damage of its mel, the explorer and the exercises of notebook 10."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from vaerecon.audio.clip import Clip
from vaerecon.lab.nb10_vocoder_input import solutions
from vaerecon.lab.nb10_vocoder_input.sensitivity import (
    explore_damage,
    plot_curves,
    score_changes,
    sensitivity,
)
from vaerecon.mel import damage
from vaerecon.metrics.scores import METRICS

QUICK = ("lsd_db", "log_mel_mae")


@pytest.fixture(scope="module")
def clips(sound) -> list[Clip]:
    return [Clip(sound[:8000], 16000, "a"), Clip(sound[8000:], 16000, "b")]


@pytest.mark.parametrize("name", ["blur_bins", "noise", "floor"])
def test_more_damage_scores_worse(tiny, clips, name):
    options = {"clips": clips, "pipe": tiny, "scores": QUICK}
    table = sensitivity("griffinlim", name, (0, 1.0, 4.0), **options)
    assert list(table.index) == [0, 1.0, 4.0]
    assert list(table.columns) == list(QUICK)
    assert table["log_mel_mae"].is_monotonic_increasing
    same = score_changes("griffinlim", {"as it is": lambda mel: mel}, **options)
    assert (table.loc[0] == same.loc["as it is"]).all()  # no damage is none


def test_the_mean_is_over_the_clips_and_the_vae_s_mel_is_another(tiny, clips):
    changes = {"as it is": lambda mel: mel}
    options = {"pipe": tiny, "scores": QUICK}
    one, other, both = (
        score_changes("griffinlim", changes, clips=chosen, **options).loc["as it is"]
        for chosen in (clips[:1], clips[1:], clips)
    )
    assert both["lsd_db"] == pytest.approx((one["lsd_db"] + other["lsd_db"]) / 2)
    behind = score_changes("griffinlim", changes, clips=clips, through_vae=True, **options)
    assert behind.loc["as it is", "log_mel_mae"] > both["log_mel_mae"]


def test_curves_have_a_panel_a_damage_and_the_colour_of_the_method():
    table = pd.DataFrame({"stoi": [0.9, 0.5]}, index=[0, 1])
    curves = {(d, m): table for d in ("noise", "floor") for m in ("fast", "griffinlim")}
    _, axes = plot_curves(curves, "stoi")
    assert [ax.get_title() for ax in axes.flat] == ["noise", "a higher floor"]
    assert [line.get_label() for line in axes[0, 0].lines] == ["Fast", "Griffin-Lim"]
    assert axes[0, 0].get_ylabel() == METRICS["stoi"].heading


@pytest.mark.slow
def test_the_explorer_draws_another_picture_and_says_what_it_finds(tiny, clips):
    box = explore_damage(tiny, clips[0], "griffinlim")
    controls, status, said, image, sound = box.children
    kind, step, listen = controls.children
    assert status.value == ""
    assert "no finding" in said.value
    before = image.value
    kind.value = "decibels"
    step.value = 4
    assert image.value != before
    assert "dB: values from" in said.value
    listen.click()
    (player,) = sound.children
    assert player.labels[-1].startswith("dB")


WRONG = {
    "same_level": (lambda changed, mel: changed + (mel - changed).mean(), "blurred"),
    "half_contrast": (damage.contrast, "upper half must stay"),
    "undo_decibels": (lambda mel: mel / 10, "20 / ln 10"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_gets_a_hint(name):
    answer, hint = WRONG[name]
    told = solutions.check_exercises(**{name: answer})
    assert told.startswith(f"- `{name}`: not yet: ")
    assert hint in told


def test_half_the_contrast_is_that_of_the_whole_below_and_nothing_above():
    mel = -6 + 2 * torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    half = solutions.half_contrast(mel, 0.2)
    assert torch.equal(half[:, 32:], mel[:, 32:])
    assert torch.equal(half[:, :32], damage.contrast(mel, 0.2)[:, :32])
