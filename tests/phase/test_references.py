"""``oracle_phase`` bounds every method that sees no original; the table of it; the error budget."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.sounds import make_sound

from benchmarks.quality import ceiling_table
from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.nb04_method_comparison import error_budget as eb
from vaerecon.lab.nb04_method_comparison import plots
from vaerecon.mel.front_end import log_mel, stft_frames
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS, Scores
from vaerecon.phase import references

BLIND = [n for n, m in METHODS.items() if not m.reference_only]  # they see no original
SOURCES = ("original mel", "VAE")
BOUNDED = [name for name, metric in METRICS.items() if metric.bounded]


def generated() -> dict[str, torch.Tensor]:
    """Sounds ``[N]`` at peak 0.5: steady, gliding, noisy, pulsating, and a mixture."""
    t = np.arange(20000) / 16000
    noise = np.random.default_rng(0).standard_normal(len(t))
    pulse = np.sin(2 * np.pi * 3 * t) > 0
    glide = 2 * np.pi * 220 * t + 3 * np.sin(2 * np.pi * 5 * t)
    sounds = {
        "harmonics": sum(np.sin(2 * np.pi * 180 * k * t) / k for k in range(1, 30)),
        "chirp": np.sin(2 * np.pi * (100 * t + 1500 * t**2)),
        "bursts": noise * np.exp(-10 * (t % 0.3)),
        "vibrato": sum(np.sin(k * glide) / k for k in range(1, 12)) * (0.2 + 0.8 * pulse),
        "mixture": make_sound(1.25, seed=3),
    }
    return {name: normalize_level(x)[0] for name, x in sounds.items()}


@pytest.fixture(scope="module")
def mels(tiny) -> dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]]:
    """(sound, source) -> the sound and the log-mel that all start from."""
    found = {}
    for name, x in generated().items():
        mel = log_mel(x, normalize=False)
        found[name, "original mel"] = x, mel
        found[name, "VAE"] = x, tiny.decode(tiny.encode(mel))[: len(mel)]
    return found


@pytest.fixture(scope="module")
def scores(tiny, mels) -> dict[tuple[str, str], dict[str, Scores]]:
    """(sound, source) -> method, or ``oracle_phase``, -> its scores."""
    return {
        key: {
            name: metrics.evaluate(
                x, tiny.synthesize(mel, name, len(x), original=x), metrics=BOUNDED
            )
            for name in (*BLIND, "oracle_phase")
        }
        for key, (x, mel) in mels.items()
    }


def passing(metric: str, ceiling: Scores, others: dict[str, Scores]) -> list[str]:
    """The methods that are as good as the ceiling, or better."""
    sign = 1 if METRICS[metric].best == "higher" else -1
    scored = {n: s[metric] for n, s in others.items() if s[metric] is not None}
    return [n for n, x in scored.items() if sign * (ceiling[metric] - x) <= 0]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "metric",
    [pytest.param(m, marks=pytest.mark.needs("pesq")) if m == "pesq_wb" else m for m in BOUNDED],
)
@pytest.mark.slow
def test_no_method_that_sees_no_original_reaches_the_true_phase(scores, metric, source):
    compared = 0
    for (sound, origin), found in scores.items():
        others = {n: found[n] for n in BLIND}
        if origin == source and found["oracle_phase"][metric] is not None:
            assert passing(metric, found["oracle_phase"], others) == [], sound
            compared += sum(s[metric] is not None for s in others.values())
    # PESQ has no value where it finds no speech-like activity: in the mixture
    assert compared >= (4 if metric == "pesq_wb" else 5) * len(BLIND)


@pytest.mark.slow
def test_one_guess_with_the_true_phase_is_no_ceiling(mels, scores):
    x, mel = mels["harmonics", "original mel"]
    guess = metrics.evaluate(x, references.oracle_phase(mel, x, n_iter=0), metrics=BOUNDED)
    found = scores["harmonics", "original mel"]
    assert "fast" in passing("spectral_convergence_db", guess, {n: found[n] for n in BLIND})


def test_the_true_phase_tells_magnitudes_too(mels):
    """From the original's mel: nearly the original, with other magnitudes than the mel gives."""
    for (sound, source), (x, mel) in mels.items():
        if source == "original mel":
            guess, found = (references.oracle_phase(mel, x, n_iter=n) for n in (0, 25))
            one, other = (metrics.spectral_convergence_db(x, y) for y in (guess, found))
            assert other < one - 6, sound
            assert metrics.si_sdr_db(x, found) > 20, sound


def test_the_ceiling_is_held_to_the_mel(mels):
    """It does not return what it was given: a louder mel gives a louder sound."""
    x, mel = mels["vibrato", "original mel"]
    one, other = (references.oracle_phase(mel + shift, x) for shift in (0, math.log(2)))
    assert float(other.norm() / one.norm()) == pytest.approx(2, rel=0.01)


def test_a_mel_that_does_not_fit_the_samples_is_refused(sound):
    mel = log_mel(sound, normalize=False)
    with pytest.raises(ValueError, match=r"n_samples: got 15000.*15841 to 16000"):
        references.oracle_phase(mel, sound[:15000])


# ------------------------------------------------------------------ the table of the benchmark


@pytest.fixture(scope="module")
def results(tiny):
    names = ["fast", "griffinlim", "oracle_phase"]
    clips = [Clip(make_sound(1.5, seed), 16000, f"clip{seed}") for seed in (1, 2)]
    slow = ("visqol", "pesq_wb")
    return [tiny(clip, names, exclude_metrics=slow) for clip in clips]


def with_score(result, source: str, method: str, metric: str, value: float | None):
    """The result with another score."""
    group = dict(getattr(result, source))
    changed = Scores({**group[method].scores, metric: value})
    return replace(result, **{source: {**group, method: replace(group[method], scores=changed)}})


def rows_of(table: str) -> dict[str, list[str]]:
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0]: row[1:] for row in cells}


def test_the_table_names_the_nearest_and_counts_who_passes(results):
    shown = [m for m in METRICS if m != "pesq_wb"]
    rows = rows_of(ceiling_table(results, True, shown))
    assert list(rows) == [
        "SI-SDR dB", "LSD dB", "Spectral convergence dB", "MR-STFT", "STOI", "ESTOI",
    ]  # fmt: skip
    assert {row[-1] for row in rows.values()} == {"0 of 2"}
    for metric, worse, better in (("lsd_db", 99.0, 0.01), ("stoi", 0.01, 0.9999)):
        label = f"{METRICS[metric].label} {METRICS[metric].unit}".strip()
        # inverted: the ceiling of one clip is below a method
        low = with_score(results[0], "methods", "oracle_phase", metric, worse)
        changed = rows_of(ceiling_table([low, results[1]], True, shown))[label]
        assert changed[-1] == "1 of 2"
        assert changed[2].endswith("on clip1")
        other = [with_score(r, "without_vae", "griffinlim", metric, better) for r in results]
        assert rows_of(ceiling_table(other, False, shown))[label][1].startswith("Griffin-Lim, ")
    unscored = [with_score(r, "methods", "oracle_phase", "stoi", None) for r in results]
    assert "STOI" not in rows_of(ceiling_table(unscored, True, shown))


# ------------------------------------------------------------------ the error budget


def budget_of(**losses: float) -> pd.DataFrame:
    """One clip and method from its corners, in LSD."""
    corners = dict(zip(eb.CORNERS, losses.values(), strict=True))
    table = pd.DataFrame([{"clip": "x", "method": "fast", "metric": "lsd_db", **corners}])
    return table.assign(**eb.shapley_shares(table))


def test_shares_of_known_corners():
    """Losses that add up keep their parts; of what only both lose together, each has a half."""
    adding = budget_of(mel_true=1, vae_true=3, true_own=4, mel_own=5, vae_own=7)
    assert adding[list(eb.SHARES)].to_numpy().tolist() == [[1, 2, 4]]
    together = budget_of(mel_true=0, vae_true=0, true_own=0, mel_own=6, vae_own=6)
    assert together[list(eb.SHARES)].to_numpy().tolist() == [[3, 0, 3]]


def test_a_budget_is_measured_in_its_corners_and_adds_up(results):
    budget = eb.error_budget(results)
    assert np.allclose(budget[list(eb.SHARES)].sum(axis=1), budget["vae / own"])
    row = budget.query("clip == 'clip2' and method == 'fast' and metric == 'lsd_db'").iloc[0]
    r = results[1]
    measured = [r.without_vae["oracle_phase"], r.methods["oracle_phase"]]
    assert row[["mel / true", "vae / true"]].tolist() == [m.scores["lsd_db"] for m in measured]
    measured = [r.without_vae["fast"], r.methods["fast"]]
    assert row[["mel / own", "vae / own"]].tolist() == [m.scores["lsd_db"] for m in measured]
    mixed = eb.with_true_magnitude(r.reference, r.without_vae["fast"].samples)
    assert row["true / own"] == metrics.lsd_db(r.reference, mixed)
    wanted = {"log_mel_mae", "lsd_db", "mrstft", "estoi"}  # PESQ and ViSQOL were left out
    assert set(budget["metric"]) == wanted


def test_the_corner_of_true_magnitudes(results):
    original, sound = results[0].reference, results[0].without_vae["fast"].samples
    # the original's phase gives the original; a phase at the sound's own magnitude, the sound
    torch.testing.assert_close(eb.with_true_magnitude(original, 0.3 * original), original)
    torch.testing.assert_close(eb.with_true_magnitude(sound, sound), sound, atol=1e-5, rtol=0)
    mixed = eb.with_true_magnitude(original, sound)
    turned = stft_frames(mixed) * stft_frames(sound).conj()
    assert float(turned.real.sum() / turned.abs().sum()) > 0.8  # the phase is the method's
    assert metrics.lsd_db(original, mixed) < metrics.lsd_db(original, sound)


def test_the_words_follow_the_results():
    phase = budget_of(mel_true=1, vae_true=3, true_own=6, mel_own=7, vae_own=9)
    text = eb.budget_text(phase)
    assert "**Fast** loses 9.0 (1 clip): the mel 1.0, the VAE 2.0, the phase 6.0." in text
    assert "The phase costs 6.0 alone, 6.0 on top of the magnitude." in text
    assert "Widest: the phase for Fast." in text
    assert "Below zero" not in text
    # inverted: the true phase is no help, the magnitude is the fault
    text = eb.budget_text(budget_of(mel_true=7, vae_true=8, true_own=1, mel_own=7, vae_own=8))
    assert "the mel 6.5, the VAE 1.0, the phase 0.5." in text
    assert "Widest: the mel for Fast." in text
    # a mel that goes better with the method's phase than the true magnitude does
    hiding = budget_of(mel_true=1, vae_true=2, true_own=6, mel_own=3, vae_own=4)
    text = eb.budget_text(hiding)
    assert "the mel -1.0, the VAE 1.0, the phase 4.0." in text
    assert "Below zero: the mel of Fast (-1.0)." in text
    assert eb.mean_shares(hiding, "lsd_db") == {"mel": -0.25, "vae": 0.25, "phase": 1.0}
    assert eb.budget_text(hiding, "estoi").startswith("No clip has all the scores")


def test_bars_begin_at_zero_and_a_negative_share_goes_left():
    hiding = budget_of(mel_true=1, vae_true=2, true_own=6, mel_own=3, vae_own=4)
    ax = plots.plot_budget(hiding)[1].flat[0]
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    assert spans == [(0, -1), (0, 1), (1, 5)]
    assert ax.lines[0].get_xdata().tolist() == [4, 4]  # the whole, which is the sum
    with pytest.raises(ValueError, match="budget: got no clip"):
        plots.plot_budget(hiding[:0])
