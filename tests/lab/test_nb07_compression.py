"""What notebook 07 measures, on made-up latents and tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from vaerecon.audio.clip import Clip
from vaerecon.codec import LatentCodec
from vaerecon.lab.nb02_vae_round_trip.round_trip import round_trip
from vaerecon.lab.nb07_compression import bits
from vaerecon.lab.nb07_compression import solutions as solutions_07

CODEC = LatentCodec.from_pretrained("tiny")


@pytest.fixture(scope="module")
def coded(tiny, sound):
    return round_trip(tiny, Clip(sound, 16000, "chord"))


def test_the_code_length_is_that_of_the_distribution_and_least_for_the_right_sizes():
    rng = np.random.default_rng(0)
    ratio = 0.6
    number = np.arange(-200, 201)
    share = (1 - ratio) / (1 + ratio) * ratio ** np.abs(number)
    numbers = rng.choice(number, (20_000, 2), p=share / share.sum())
    size = np.full(2, 2 * ratio / (1 - ratio**2))
    entropy = -(share * np.log2(share)).sum()
    assert bits.code_length(numbers, size) / numbers.size == pytest.approx(entropy, rel=0.02)
    for factor in (0.5, 2.0):
        assert bits.code_length(numbers, factor * size) > bits.code_length(numbers, size)
    assert math.isfinite(bits.code_length(numbers, np.zeros(2)))


def test_the_three_designs_code_the_same_latent(coded):
    """Each of them decodes to within a step of the latent; the last is the codec's own."""
    from vaerecon.codec.quantiser import Quantiser, step_of

    index = 48
    own = bits.whole_numbers(CODEC, coded.mean, index, bits.DESIGNS[2])
    decoded = CODEC.decode(CODEC.encode(coded.mean, step=step_of(index)))
    again = bits.whole_numbers(CODEC, decoded, index, bits.DESIGNS[2])
    np.testing.assert_array_equal(own, again)
    rotation = CODEC.constants["rotation"].astype(float)
    for design, predictor in (
        (bits.DESIGNS[0], np.zeros((128, 128))),
        (bits.DESIGNS[1], rotation @ CODEC.constants["predictor"].astype(float) @ rotation.T),
    ):
        numbers = bits.whole_numbers(CODEC, coded.mean, index, design)
        frames = Quantiser(predictor, index).restore(numbers) + CODEC.constants["mean"]
        scaled = coded.mean.numpy() / CODEC.constants["deviation"][:, None, None]
        assert np.abs(frames - bits.to_frames(scaled)).max() <= 0.6 * 4 + 1e-6


def test_the_klt_saves_and_the_file_is_near_the_third_design(tiny, coded):
    from vaerecon.audio.clip import load_audio
    from vaerecon.bundled import demo_clips

    names = ("demo_speech", "demo_ensemble")
    speech, ensemble = (round_trip(tiny, load_audio(demo_clips()[name], 2)) for name in names)
    rates = bits.design_rates(CODEC, ensemble, [speech], 48)
    assert list(rates.index) == [*bits.DESIGNS, "the real file"]
    assert rates["+ KLT"] < 0.8 * rates["static tables"]
    assert 0.6 < rates["the real file"] / rates["+ KLT"] < 1.3


def test_finer_steps_cost_more_and_err_less_down_to_the_vae_s_own_error(tiny, coded):
    steps = (1.0, 4.0, 16.0, 0.0)
    rates, errors = zip(
        *(bits.through_codec(tiny, CODEC, coded, step)[1:] for step in steps), strict=True
    )
    assert rates[0] > rates[1] > rates[2]
    assert errors[0] < errors[1] < errors[2]
    assert errors[3] == pytest.approx(errors[0], rel=0.1)
    assert math.isnan(rates[3])


def test_the_bounds_are_those_of_notebook_02(coded):
    from vaerecon.models.autoencoder import kl_nats

    found = bits.bounds(CODEC, coded)
    expected = 3200 * float(kl_nats(coded.mean, coded.logvar)) / math.log(2) / 1000
    assert found["KL from N(0, 1)"] == pytest.approx(expected, rel=1e-6)
    assert found["KL from a normal for each channel"] <= found["KL from N(0, 1)"] * 1.001
    assert found["the real file"] < found["KL from N(0, 1)"]


def made_up(latent: list[float], opus: list[float], metric: str = "stoi") -> pd.DataFrame:
    rows = [{"method": "fast", "clip": "a", "kbps": math.nan, metric: 0.9}]
    for name, values in (("latent", latent), ("opus", opus)):
        for kbps, value in zip((4.0, 8.0, 16.0), values, strict=True):
            rows.append({"method": f"{name}:{kbps:g}", "clip": "a", "kbps": kbps, metric: value})
    return pd.DataFrame(rows)


def test_a_crossing_is_where_the_curves_cross_in_the_direction_of_the_metric():
    table = made_up([0.8, 0.8, 0.8], [0.6, 0.7, 0.9])
    assert bits.crossing(table, "stoi") == pytest.approx(12, abs=0.1)
    assert bits.crossing(made_up([0.9] * 3, [0.1] * 3), "stoi") == math.inf
    # ahead at the lowest rates only is no crossing from which on it is better
    assert bits.crossing(made_up([0.8] * 3, [0.9, 0.7, 0.6]), "stoi") == math.inf
    assert bits.crossing(made_up([0.8] * 3, [0.9, 0.7, 0.9]), "stoi") == pytest.approx(12, abs=0.1)
    table = made_up([0.2, 0.2, 0.2], [0.4, 0.3, 0.1], "log_mel_mae")
    assert bits.crossing(table, "log_mel_mae") == pytest.approx(12, abs=0.1)
    text = bits.crossing_text(made_up([0.8] * 3, [0.6, 0.7, 0.9]), {"a": "speech"}, "stoi")
    assert text == "- speech (1 clip): by STOI Opus is better from 12.0 kbit/s on."
    assert "nowhere" in bits.crossing_text(made_up([0.9] * 3, [0.1] * 3), {"a": "x"}, "stoi")


def test_pictures_show_what_they_say():
    _, axes = bits.plot_rate_distortion(made_up([0.8] * 3, [0.9] * 3), {"a": "x"}, ("stoi",))
    assert axes[0, 0].get_title() == "x, 1 clip"
    labels = [line.get_label() for line in axes[0, 0].lines]
    assert labels == ["latent", "opus", "latent, not rounded"]
    assert list(axes[0, 0].lines[1].get_xdata()) == [4.0, 8.0, 16.0]


def test_the_error_by_band_finds_a_missing_band(sound):
    spectrum = np.fft.rfft(sound + 0.01 * np.random.default_rng(0).standard_normal(len(sound)))
    full = np.fft.irfft(spectrum)
    spectrum[len(spectrum) // 2 :] = 0  # above 4 kHz
    errors = bits.error_by_band(full, {"opus": np.fft.irfft(spectrum), "latent": full})
    assert errors.index.is_monotonic_increasing
    assert errors.loc[errors.index > 4500, "opus"].min() > 3 * errors.loc[:3000, "opus"].max()
    assert errors["latent"].max() == 0


@pytest.mark.slow
def test_the_slider_draws_another_picture_and_plays(tiny, coded):
    box = bits.explore_step(tiny, CODEC, coded, "griffinlim")
    controls, status, image, sound = box.children
    before = image.value
    controls.children[0].value = 96
    assert image.value != before
    controls.children[1].click()
    (player,) = sound.children
    heard = player.labels[-1]
    controls.children[0].value = 48  # the sound goes with the picture
    assert player.labels[-1] != heard
    assert status.value == ""
    mel, *_ = bits.through_codec(tiny, CODEC, coded, 32.0)
    assert mel.shape == coded.mel.shape


def test_solutions_are_correct_and_mistakes_are_told():
    right = {name: getattr(solutions_07, name) for name in solutions_07.CHECKS}
    assert solutions_07.check_exercises(**right).count("correct") == 3
    nothing = dict.fromkeys(right, lambda *_: None)
    assert solutions_07.check_exercises(**nothing).count("not tried yet") == 3
    wrong = {
        "dead_zone": lambda values, step, zone: np.rint(values / step),
        "wrong_tables": lambda numbers, own, other: (
            bits.code_length(numbers, own) / bits.code_length(numbers, other)
        ),
    }
    text = solutions_07.check_exercises(**wrong)
    assert text.count("not yet: ") == 2
    assert "plain rounding" in text
