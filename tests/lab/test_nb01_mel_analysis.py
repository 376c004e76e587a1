"""The mel's notebook: front-ends compared, sound recovered, pictures, explorer, exercises."""

from __future__ import annotations

import io
import itertools
import math
import wave
from datetime import UTC, datetime

import numpy as np
import pytest
import soundfile
import torch

from vaerecon import metrics
from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.figures import figure_html
from vaerecon.lab.nb01_mel_analysis import explorer as mel_explorer
from vaerecon.lab.nb01_mel_analysis import front_ends as ma
from vaerecon.lab.nb01_mel_analysis import plots
from vaerecon.lab.nb01_mel_analysis import recovery as mr
from vaerecon.lab.nb01_mel_analysis import solutions as solutions_01
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel, naive_log_mel, stft_frames
from vaerecon.phase.retrieval import mel_to_magnitude


@pytest.fixture(scope="module")
def samples(sound) -> torch.Tensor:
    """The shared sound at the front-end's level."""
    return normalize_level(sound)[0]


@pytest.fixture(scope="module")
def recovered(samples) -> dict[str, torch.Tensor]:
    return mr.recoveries(samples, n_iter=8)


@pytest.fixture(scope="module")
def table(samples, recovered):
    return mr.score_recoveries(samples, recovered)


# Settings


def test_settings_keep_the_window_as_long_as_the_transform() -> None:
    assert ma.settings() == AUDIOLDM_MEL
    assert ma.settings(n_fft=512).win_length == 512


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_mels": 0}, "expected bins, window and hop of at least 1"),
        ({"n_fft": 256, "hop_length": 320}, "less than the window of 256 samples"),
        ({"hop_length": 161}, "take an even hop"),
        ({"fmin": 4000.0, "fmax": 4000.0}, "got 4000 to 4000 Hz, expected an interval"),
        ({"fmax": 9000.0}, "within 0 to 8000 Hz"),
    ],
)
def test_impossible_settings_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        ma.settings(**changes)


def test_edges_are_those_of_the_filters() -> None:
    edges, hz = ma.filter_edges(), np.linspace(0, 8000, 513)
    for i, column in enumerate(ma.mel_filters(AUDIOLDM_MEL).T.numpy()):
        seen = hz[column > 0]
        # a bin may lie just inside of a foot, at a weight above zero
        assert edges[i] <= seen[0]
        assert seen[-1] <= edges[i + 2]


@pytest.mark.filterwarnings("error")  # librosa's warning shows a path of the machine
def test_empty_filters_are_counted_in_silence() -> None:
    assert ma.empty_filters() == 0
    narrow = ma.settings(n_mels=120, n_fft=256)
    assert ma.empty_filters(narrow) > 0
    mel = log_mel(torch.randn(4000, generator=torch.Generator().manual_seed(0)), narrow)
    always = (mel <= narrow.log_floor + 1e-4).all(dim=0)
    assert int(always.sum()) == ma.empty_filters(narrow)


# One choice at a time


@pytest.mark.slow
@pytest.mark.parametrize("length", [16000, 15999, 15841, 1100])
def test_the_two_ends_of_the_choices_are_the_two_front_ends(sound, length) -> None:
    x = sound[:length]
    # the same steps, but for how a magnitude is rounded
    torch.testing.assert_close(ma.log_mel_with(x), log_mel(x), atol=1e-5, rtol=0)
    # float32, in another order; quiet bins are small differences of large numbers
    torch.testing.assert_close(ma.log_mel_with(x, **ma.NAIVE), naive_log_mel(x), atol=1e-4, rtol=0)


def test_an_affine_map_is_found() -> None:
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    fit = ma.best_affine_map(x, 3 * x - 7)
    assert (fit.slope, fit.offset) == pytest.approx((3, -7), abs=1e-6)
    assert fit.residual < 1e-6
    torch.testing.assert_close(fit(x), 3 * x - 7, atol=1e-5, rtol=0)
    flat = ma.best_affine_map(torch.ones(50, 64), x)  # no slope can help
    assert flat.slope == 0
    assert flat.residual == pytest.approx(float((x - x.mean()).abs().mean()), rel=1e-5)


def test_units_can_be_undone_and_sums_cannot(sound) -> None:
    table = ma.compare_choices(sound)
    left = table["after the best affine map (nepers)"]
    for unit in ("relative to the loudest value", "decibels", "scaled to 0..1"):
        assert left[unit] < 1e-4  # the sound has noise in every bin, far above the floor
        assert table["as it is"][unit] > 0.05
    power, framing = left["power 2 before the sum"], left["frames half a hop earlier"]
    assert power > 0.05
    assert framing > 0.02
    assert left["the tutorial's: all of these"] > max(power, framing)
    assert left["HTK filters instead"] > left["the tutorial's: all of these"]
    decibels = table["the same (dB)"]["power 2 before the sum"]
    assert decibels == pytest.approx(power * 20 / math.log(10))


# What comes back


def test_what_is_known_orders_what_comes_back(table) -> None:
    distance = table["mrstft"]
    helped = distance[["oracle_magnitude", "oracle_phase"]]
    assert (helped < 0.5 * distance["griffinlim"]).all()
    assert distance["griffinlim"] < distance["random_phase"] < distance["silence"]
    assert table["snr_db"]["silence"] == 0
    assert table["snr_db"]["griffinlim"] < 0 < table["snr_db"]["oracle_phase"]


def test_found_phases_are_others_and_advance_rightly(table) -> None:
    assert abs(table["phase"]["random_phase"]) < 0.1  # the mean of many cosines
    assert table["phase"]["oracle_phase"] > 0.95
    advance = table["phase_advance"]
    assert advance["random_phase"] < advance["griffinlim"] < advance["oracle_magnitude"]
    assert advance["oracle_magnitude"] > 0.95
    assert math.isnan(advance["silence"])


def test_phase_agreement_of_known_pairs(samples) -> None:
    assert mr.phase_agreement(samples, samples) == pytest.approx((1, 1))
    assert mr.phase_agreement(samples, -samples) == pytest.approx((-1, 1))  # no ear tells
    assert all(math.isnan(x) for x in mr.phase_agreement(samples, 0 * samples))


def test_recover_repeats_itself_and_listens_to_the_seed(samples) -> None:
    one, same, other = (mr.recover(samples, n_iter=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("changes", [{"n_mels": 128}, {"n_fft": 512}, {"hop_length": 320}])
def test_recover_with_other_settings(samples, recovered, changes) -> None:
    found = mr.recover(samples, ma.settings(**changes), n_iter=8)
    assert found.shape == samples.shape
    random = metrics.mrstft(samples, recovered["random_phase"])
    assert metrics.mrstft(samples, found) < random


def test_the_distance_of_magnitudes_is_the_metric_without_sound(samples, recovered) -> None:
    one, other = samples, recovered["griffinlim"]
    found = mr.magnitude_distance_db(*(stft_frames(x).abs() for x in (one, other)))
    # the metric removes the mean of the estimate too, and works in float64
    assert found == pytest.approx(metrics.lsd_db(one, other), rel=0.02)


def test_the_loudest_part() -> None:
    x = 0.01 * torch.ones(32000)
    x[12000:20000] = 1.0
    start, end = mr.loudest_part(x, 0.5)
    assert (start, end) == pytest.approx((0.75, 1.25), abs=1e-4)
    assert mr.loudest_part(x[:800], 1.0) == (0, 0.05)  # shorter than asked: all of it


def test_sweep(samples) -> None:
    sweep = mr.sweep(samples, {"n_mels": (16, 64), "hop_length": (320,)}, n_iter=4)
    assert sweep["setting"].to_list() == ["AudioLDM2", "n_mels=16", "hop_length=320"]
    assert sweep["n_mels"].to_list() == [64, 16, 64]
    model, few, _ = sweep["mrstft"]
    assert model < few


# Pictures


@pytest.mark.slow
def test_every_picture_can_be_drawn(samples, sound, table) -> None:
    mel = log_mel(sound)
    figures = [
        plots.plot_waveform(samples),
        plots.plot_spectrogram(stft_frames(samples).abs()),
        plots.plot_recoveries(table, ("snr_db", "estoi", "phase")),  # silence has no phase
        plots.plot_settings(mel, AUDIOLDM_MEL, "title"),
    ]
    for figure, axes in figures:
        assert "data:image/png;base64,iVBORw0" in figure_html(figure)
        lowest = np.ravel(axes)[-1]
        assert lowest.get_xlabel() or lowest.get_title()


def test_a_table_without_some_scores_can_be_drawn(samples, recovered) -> None:
    short = samples[:4000]  # too short for ESTOI
    cut = {name: sound[:4000] for name, sound in recovered.items()}
    table = mr.score_recoveries(short, cut, ("mrstft", "estoi"))
    assert table["estoi"].isna().all()
    _, axes = plots.plot_recoveries(table, ("mrstft", "estoi"))
    assert [text.get_text() for text in axes[0, 1].texts] == ["no value"] * len(table)


# Explorer


@pytest.fixture
def explorer(sound):
    box = mel_explorer.explore_mel(Clip(sound[:8000], 16000, "half"), n_iter=1)
    sliders, buttons = box.children[0].children
    names = ("n_mels", "n_fft", "hop_length", "range")
    parts = dict(zip(names, sliders.children, strict=True))
    reset, own, default = buttons.children
    parts |= {"reset": reset, "own": own, "upload": own.upload, "default": default}
    return parts | dict(zip(("status", "image", "facts", "player"), box.children[1:], strict=True))


def test_a_slider_changes_picture_and_sound(explorer) -> None:
    picture, played = explorer["image"].value, explorer["player"].pcm
    assert "data:image/png;base64,iVBOR" in picture
    assert explorer["player"].labels == ["original", "from the mel"]
    explorer["n_mels"].value = 16
    assert explorer["image"].value != picture
    assert explorer["player"].pcm != played
    assert explorer["status"].value == ""
    coarse = explorer["image"].value
    explorer["reset"].click()
    assert explorer["n_mels"].value == 64
    assert explorer["image"].value == picture != coarse


def test_what_cannot_be_is_said_in_place(explorer) -> None:
    picture = explorer["image"].value
    explorer["range"].value = (2000, 2000)
    assert "got 2000 to 2000 Hz" in explorer["status"].value
    assert explorer["image"].value == picture
    explorer["range"].value = (300, 3400)
    assert explorer["status"].value == ""
    assert explorer["image"].value != picture


@pytest.mark.filterwarnings("error::UserWarning")  # librosa's warning shows a path of the machine
def test_empty_filters_are_said(explorer) -> None:
    explorer["n_mels"].value = 128
    explorer["n_fft"].value = 256
    empty = ma.empty_filters(ma.settings(n_mels=128, n_fft=256))
    assert f"{empty} of 128 filters see no STFT bin" in explorer["facts"].value
    assert explorer["status"].value == ""


def test_every_position_of_the_sliders_is_possible_or_refused(explorer) -> None:
    pairs = itertools.product(explorer["n_fft"].options, explorer["hop_length"].options)
    for n_fft, hop in pairs:
        if hop < n_fft:
            ma.settings(n_fft=n_fft, hop_length=hop)
        else:
            with pytest.raises(ValueError, match="shorter hop or a longer window"):
                ma.settings(n_fft=n_fft, hop_length=hop)


def seconds(matched) -> float:
    return len(matched.tracks[0].samples) / matched.sample_rate


def upload(explorer, content: bytes) -> None:
    file = {"name": "mine.wav", "type": "audio/wav", "size": len(content), "content": content}
    explorer["upload"].value = ({**file, "last_modified": datetime.now(UTC)},)


@pytest.mark.process
def test_a_clip_of_ones_own(explorer) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        tone = np.sin(2 * np.pi * 440 * np.arange(4800) / 16000)
        file.writeframes((9000 * tone).astype("<i2").tobytes())
    picture = explorer["image"].value
    upload(explorer, buffer.getvalue())
    assert explorer["status"].value == ""
    assert explorer["image"].value != picture
    assert seconds(explorer["player"].matched) == pytest.approx(0.3)
    before = explorer["image"].value
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(8000), 16000, format="WAV")
    for content, word in ((b"no sound", "mine"), (silence.getvalue(), "only silence")):
        upload(explorer, content)
        assert word in explorer["status"].value
        assert "vaerecon-old" in explorer["image"]._dom_classes  # pale
        assert explorer["image"].value == before
        explorer["n_mels"].value += 4  # goes on with what it had
        assert explorer["status"].value == ""
        assert "vaerecon-old" not in explorer["image"]._dom_classes
        assert seconds(explorer["player"].matched) == pytest.approx(0.3)
        explorer["reset"].click()
    explorer["default"].click()
    assert explorer["upload"].value == ()
    assert explorer["image"].value == picture
    assert seconds(explorer["player"].matched) == pytest.approx(0.5)


@pytest.mark.process
def test_a_recording_is_a_clip_and_the_last_choice_counts(explorer) -> None:
    tone = (9000 * np.sin(2 * np.pi * 440 * np.arange(24000) / 48000)).astype("<i2")
    recorder = explorer["own"].recorder
    recorder._handle_custom_msg({"rate": 48000}, [memoryview(tone.tobytes())])  # as its button does
    assert explorer["status"].value == ""
    assert explorer["own"].name.value == "recording.wav"
    assert seconds(explorer["player"].matched) == pytest.approx(0.5)
    level = explorer["own"].clip().samples
    # 48 to 16 kHz: the tone of 440 Hz stays, away from the ends within 1 %
    np.testing.assert_allclose(level[800:7000], tone[::3][800:7000] / 32768, atol=0.003)
    upload(explorer, b"no sound")
    assert explorer["own"].name.value == "mine.wav"
    explorer["own"].clear()
    assert explorer["own"].clip() is None


def test_look_measures_what_it_plays(samples) -> None:
    mel, sound, title, facts = mel_explorer.compute_view(samples, AUDIOLDM_MEL, n_iter=4)
    assert torch.equal(mel, log_mel(samples, normalize=False))
    assert f"sound: {metrics.mrstft(samples, sound):.2f}." in facts
    assert "6,400 values/s" in title
    assert "64 ms" in title


# Exercises


def test_the_solutions_agree_with_the_front_end() -> None:
    click = torch.zeros(16000)
    click[5600 + 80] = 1  # where the training frame 35 is centred
    energy = stft_frames(click).abs().sum(dim=1)
    assert int(energy.argmax()) == 35
    assert solutions_01.frame_time(35) == 5680 / 16000
    # below 1 kHz the centres are 46.4 Hz apart, above they grow apart
    assert solutions_01.resolved_up_to(40) == 0
    assert 900 < solutions_01.resolved_up_to(47) < 1100
    assert solutions_01.resolved_up_to(200) < solutions_01.resolved_up_to(400)


@pytest.mark.parametrize(
    ("name", "wrong", "hint"),
    [
        ("frame_time", lambda frame, framing: frame * 0.01, "both framings gave the same"),
        ("frame_time", lambda frame, framing: frame * 160, "100 hops are 1 s"),
        ("louder", lambda mel, decibels: mel + decibels, "shifted by 6 nepers"),
        ("louder", lambda mel, decibels: mel + decibels * 2 / ma.NEPER_DB, "that is for power"),
        ("louder", lambda mel, decibels: mel + decibels / ma.NEPER_DB, "below the floor"),
        ("resolved_up_to", lambda fundamental: 10 * fundamental, "look at the steps"),
        ("resolved_up_to", lambda fundamental: 1 / 0, "stopped with a ZeroDivisionError"),
    ],
)
def test_wrong_answers_get_a_hint(name, wrong, hint) -> None:
    answers = {n: getattr(solutions_01, n) for n in solutions_01.CHECKS} | {name: wrong}
    lines = solutions_01.check_exercises(**answers).splitlines()
    assert [hint in line for line in lines] == [f"`{name}`" in line for line in lines]


def test_em_magnitudes_have_the_right_mel(samples) -> None:
    """What the notebook says of the second picture in section 7."""
    mel = log_mel(samples, normalize=False)
    again = (mel_to_magnitude(mel) @ ma.mel_filters(AUDIOLDM_MEL)).clamp_min(1e-5).log()
    assert float((again - mel).abs().mean()) < 0.05  # ten steps leave about 0.01 nepers
