"""Damaged mels: nothing at the amount 0, what they say at others, and each found by its traces."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import vaerecon as vr
from vaerecon.audio.clip import load_audio
from vaerecon.audio.samples import normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.mel import damage, diagnosis
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.damage import DAMAGES
from vaerecon.mel.diagnosis import diagnose_mel, possible_range
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import log_mel, naive_log_mel, stft_frames

FLOOR = AUDIOLDM_MEL.log_floor


def noise_mel(seconds: float = 4.0) -> torch.Tensor:
    """Of white noise: no value is low, so no range tells its power from its magnitude."""
    return log_mel(torch.randn(int(16000 * seconds), generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def mels() -> dict[str, torch.Tensor]:
    found = {name: log_mel(load_audio(path, 3).samples) for name, path in demo_clips().items()}
    return found | {"noise": noise_mel()}


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGES)
def test_no_damage_is_the_mel_itself_and_more_is_another_of_its_shape(mels, name):
    mel = mels["demo_speech"]
    change = DAMAGES[name].function
    assert torch.equal(change(mel, 0.0), mel)
    last = DAMAGES[name].amounts[-1]
    batch = torch.stack([mel, mel])
    before = batch.clone()
    changed = change(batch, last)
    assert changed.shape == batch.shape
    assert torch.equal(batch, before)  # pure
    assert (changed != batch).double().mean() > 0.01
    assert torch.equal(change(batch, last), changed)  # noise too is the same each time
    if name != "noise":  # which differs from clip to clip
        torch.testing.assert_close(changed[0], change(mel, last))


def test_each_does_what_it_says(mels):
    mel = mels["demo_speech"]
    assert damage.floor(mel, 4.5).min() == pytest.approx(FLOOR + 4.5)
    assert damage.ceiling(mel, 2.0).max() == pytest.approx(float(mel.max()) - 2)
    click = torch.zeros(41, 64)
    click[20, 30] = 1.0
    for blur, axis in ((damage.blur_time, 0), (damage.blur_bins, 1)):
        weights = blur(click, 2.0).sum(dim=1 - axis)
        place = torch.arange(len(weights)) - (20, 30)[axis]
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert (weights * place**2).sum().sqrt() == pytest.approx(2.0, rel=0.03)
    softened = damage.blur_bins(mel, 1.0)
    torch.testing.assert_close(damage.sharpen(mel, 0.5), mel + 0.5 * (mel - softened))
    wide = damage.contrast(mel, 0.1)
    inside = wide > FLOOR + 1e-4
    assert (wide[inside].std() / mel[inside].std()) == pytest.approx(1.1, rel=1e-3)
    assert wide.exp().mean() == pytest.approx(float(mel.exp().mean()), rel=1e-4)
    assert (damage.noise(mel, 0.5) - mel).std() == pytest.approx(0.5, rel=0.02)
    torch.testing.assert_close(10 ** (damage.decibels(mel) / 20), mel.exp(), rtol=1e-4, atol=0)
    torch.testing.assert_close(10 ** damage.log10(mel), mel.exp(), rtol=1e-4, atol=0)
    scaled = damage.min_max(mel)
    assert (scaled.min(), scaled.max()) == (0, 1)


# --- diagnosis ------------------------------------------------------------------------------------


def adversaries() -> dict[str, torch.Tensor]:
    """Sounds at peak 0.5 that make single bins, or all of them, as loud as they get."""
    t = torch.arange(4000) / 16000
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    sounds = {f"tone {hz}": torch.sin(2 * math.pi * hz * t) for hz in range(25, 8000, 175)}
    sounds |= {f"square {hz}": torch.sin(2 * math.pi * hz * t).sign() for hz in (31, 170, 1130)}
    sounds |= {"noise": noise, "coin flips": noise.sign(), "sweep": torch.sin(6e3 * t * t)}
    return {name: normalize_level(x)[0] for name, x in sounds.items()}


def test_no_sound_leaves_the_possible_range():
    possible = possible_range()
    mels = {name: log_mel(x, normalize=False) for name, x in adversaries().items()}
    highest = max(float(x.max()) for x in mels.values())
    mean = max(float(x.mean(dim=-1).max()) for x in mels.values())
    assert highest <= possible.highest
    assert mean <= possible.highest_mean
    assert possible.lowest == AUDIOLDM_MEL.log_floor
    # bounds that nothing comes near would find nothing: within 4.4 dB and 8.7 dB
    assert highest > possible.highest - 0.5
    assert mean > possible.highest_mean - 1.0


def wrong_mels(mel: torch.Tensor, samples: torch.Tensor) -> dict[str, tuple[str, torch.Tensor]]:
    """Kind of finding, and the mel, by name: lines of the right one, and as tutorials make them."""
    squares = stft_frames(samples).abs().square() @ mel_filters()
    below = 10 * (squares / squares.max()).clamp_min(1e-8).log10()
    full = (mel - mel.min()) / (mel.max() - mel.min()) * -FLOOR + FLOOR
    return {
        "dB": ("dB", damage.decibels(mel)),
        "dB below the maximum": ("dB", below),
        "twice": ("power", damage.power(mel)),
        "power": ("power", squares.clamp_min(1e-10).log()),
        "min-max": ("min-max", damage.min_max(mel)),
        "naive": ("min-max", naive_log_mel(samples)),
        "min-max over the whole range": ("min-max", full),
        "standardised": ("level", (mel - mel.mean()) / mel.std()),
        "transposed": ("layout", mel.T),
        "80 bins": ("layout", torch.zeros(10, 80)),
        "NaN": ("finite", mel * math.nan),
    }


@pytest.mark.parametrize("clip", [*demo_clips(), "noise"])
def test_each_mistake_is_named_and_what_is_right_is_not(mels, tiny, clip):
    mel = mels[clip]
    if clip == "noise":
        generator = torch.Generator().manual_seed(1)
        samples = normalize_level(torch.randn(64000, generator=generator))[0]
    else:
        samples = normalize_level(load_audio(demo_clips()[clip], 3).samples)[0]
    assert diagnose_mel(mel) == []
    assert diagnose_mel(tiny.decode(tiny.encode(mel), len(mel))) == []
    for name, (kind, wrong) in wrong_mels(mel, samples).items():
        found = diagnose_mel(wrong)
        assert [each.kind for each in found] == [kind], name
        assert found[0].fix in str(found[0])
        assert diagnose_mel(wrong[None]) == found or kind == "layout"


@pytest.mark.parametrize("clip", [*demo_clips(), "noise"])
def test_another_floor_is_found_where_it_changes_one_value_in_a_hundred(mels, clip):
    mel = mels[clip]
    seen = 0
    for height in (1.0, 2.5, 4.5, 6.5, 8.0):
        cut = damage.floor(mel, height)
        changed = float((cut != mel).double().mean())
        if changed >= 0.01:
            assert [each.kind for each in diagnose_mel(cut)] == ["floor"]
            seen += 1
        elif changed == 0:
            assert diagnose_mel(cut) == []
    assert seen or clip == "noise"
    below = mel.clone()
    below[:, :10] = FLOOR  # ten silent bins: a cut at 80 dB changes them
    assert [each.kind for each in diagnose_mel(damage.top_db(below))] == ["top_db"]
    assert [each.kind for each in diagnose_mel(damage.log10(below))] == ["log10"]
    assert diagnose_mel(below) == []


def test_a_tone_whose_frames_are_all_alike_has_no_other_floor():
    """Its lowest value is there in every frame, 1 in 64, but in one bin only."""
    tone = torch.sin(2 * math.pi * 400 / 16000 * torch.arange(32000))
    mel = log_mel(tone)[10:-10]
    assert diagnose_mel(mel) == []
    assert diagnose_mel(mel[:1].expand(300, -1)) == []
    assert diagnose_mel(torch.full((100, 64), FLOOR)) == []  # silence


def test_other_settings_have_bounds_of_their_own():
    config = vr.MelConfig(n_fft=512, win_length=512, n_mels=80, floor=1e-4)
    samples = load_audio(demo_clips()["demo_speech"], 3).samples
    mel = log_mel(samples, config)
    assert diagnose_mel(mel, config) == []
    assert [each.kind for each in diagnose_mel(2 * mel, config)] == ["power"]
    assert [each.kind for each in diagnose_mel(mel)] == ["layout"]
    with pytest.raises(ValueError, match="got no values"):
        diagnose_mel(torch.zeros(0, 64))


def test_encode_warns_once_and_of_nothing_that_is_right(tiny, mels, monkeypatch):
    monkeypatch.setattr(diagnosis, "_told", [])
    mel = mels["demo_ensemble"][:48]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny.encode(mel)
        assert caught == []
        for _ in range(2):
            tiny.encode(damage.decibels(mel))
    assert len(caught) == 1
    assert "dB: values from" in str(caught[0].message)
    assert caught[0].filename.endswith("test_damage.py")  # the line that passed the mel


def test_a_mel_with_a_gradient_is_diagnosed_without_a_warning(recwarn):
    mel = log_mel(torch.randn(8000, generator=torch.Generator().manual_seed(0)))
    mel.requires_grad_()
    assert diagnose_mel(mel) == []
    assert recwarn.list == []
