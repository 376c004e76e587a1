"""Finished codecs as rows of the table: their rate, their alignment, their names."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.sounds import make_sound

from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.codec import LatentCodec
from vaerecon.comparison.codecs import ENCODERS, _encoded, _payload, code_sound, parse_codecs
from vaerecon.comparison.run import compare
from vaerecon.metrics.scores import METRICS, evaluate


def test_names_and_rates_are_read():
    assert parse_codecs("latent:4.8, opus:8,vorbis,opus:8") == ("latent:4.8", "opus:8", "vorbis")
    assert parse_codecs(["mp3:16"]) == ("mp3:16",)
    assert parse_codecs("") == ()


@pytest.mark.parametrize("text", ["flac", "opus:", "opus:x", "opus:-1", "opus:nan", "latent:0"])
def test_a_codec_or_rate_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="codecs: got"):
        parse_codecs(text)


@pytest.mark.parametrize(("name", "kbps"), [("opus", 20), ("vorbis", 48), ("mp3", 32)])
def test_the_rate_is_kept_and_the_sound_is_aligned(name, kbps):
    sound = make_sound(3)
    decoded, rate, _ = code_sound(sound, name, kbps)
    assert 0.6 * kbps < rate <= 1.001 * kbps
    assert decoded.shape == sound.shape
    aligned = evaluate(sound, decoded, metrics=["si_sdr_db"])["si_sdr_db"]
    assert aligned > 4
    for shift in (-20, 20):
        moved = evaluate(sound, np.roll(decoded, shift), metrics=["si_sdr_db"])["si_sdr_db"]
        assert moved < aligned - 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_more_bits_are_closer_and_none_means_the_coarsest(name):
    sound = make_sound(3)
    rates, errors = [], []
    for kbps in (None, 40, 80):
        decoded, rate, _ = code_sound(sound, name, kbps)
        rates.append(rate)
        errors.append(evaluate(sound, decoded, metrics=["lsd_db"])["lsd_db"])
    assert rates == sorted(rates)
    assert errors == sorted(errors, reverse=True)


def test_mp3_at_low_rates_is_aligned_too():
    sound = make_sound(3)
    decoded, rate, lag = code_sound(sound, "mp3", 16)
    assert lag > 1000
    assert rate == pytest.approx(16, rel=0.01)
    assert evaluate(sound, decoded, metrics=["si_sdr_db"])["si_sdr_db"] > 3


@pytest.mark.parametrize("name", ["opus", "vorbis"])
def test_headers_of_ogg_are_not_counted(name):
    sizes = []
    for seconds in (1, 2, 3):
        data = _encoded(make_sound(seconds), name, 0.9)
        assert _payload(data, name) < len(data)
        sizes.append((len(data), _payload(data, name)))
    # what is left out hardly grows with the sound
    left_out = [total - payload for total, payload in sizes]
    assert left_out[2] - left_out[0] < 0.2 * (sizes[2][1] - sizes[0][1])


@pytest.mark.slow
def test_codecs_are_rows_of_the_table(tmp_path):
    import soundfile as sf

    sf.write(tmp_path / "a.wav", make_sound(2), 16000)
    table = compare(tmp_path, methods="fast", codecs="latent:6,opus:16", without_vae=False,
                    exclude_metrics=["visqol", "pesq_wb"], workers=1)  # fmt: skip
    rows = table.set_index("method")
    assert list(rows.index) == ["fast", "silence", "latent:6", "opus:16"]
    assert list(rows.loc[["latent:6", "opus:16"], "through_vae"]) == [True, False]
    assert rows["kbps"].isna().tolist() == [True, True, False, False]
    assert rows.loc["latent:6", "kbps"] <= 6
    assert rows.loc["opus:16", "kbps"] <= 16
    assert rows.loc["latent:6", "log_mel_mae"] < 2 * rows.loc["fast", "log_mel_mae"]
    assert rows["error"].isna().all()
    assert rows["lsd_db"].notna().sum() == 4


def test_a_model_folder_brings_its_own_codec(tiny, tmp_path):
    folder = tmp_path / "elsewhere" / "mine"
    tiny.save_pretrained(folder)
    LatentCodec.from_pretrained("tiny").save_pretrained(folder)
    clip = str(demo_clips()[DEMO_CLIP])
    options = {"methods": "silence", "max_length": 0.5, "without_vae": False, "workers": 1}
    table = compare(clip, folder, codecs="latent:8", exclude_metrics=METRICS, **options)
    assert table["error"].isna().all()
    assert (table["method"] == "latent:8").sum() == 1
