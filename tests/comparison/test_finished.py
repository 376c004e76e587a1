"""``vaerecon evaluate``: finished sounds against their references."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import soundfile as sf
from helpers.hub_server import serve
from helpers.in_process import run
from helpers.sounds import make_sound, noise

import vaerecon as vr
from vaerecon.comparison.codecs import code_sound
from vaerecon.comparison.finished import align, find_lag, find_pairs
from vaerecon.comparison.run import compare
from vaerecon.metrics.scores import METRICS, ON_REQUEST, Metric
from vaerecon.metrics.sets import kernel_distance

FEW = ("snr_db", "log_mel_mae")
NAMES = ("a", "two words", "sub/é")


def write(folder, name: str, samples, rate: int = 16000) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, rate)


@pytest.fixture
def folders(tmp_path):
    """References, and estimates of another format, rate and channels that are 37 samples late."""
    for seed, name in enumerate(NAMES):
        sound = np.roll(make_sound(1), 4000 * seed)  # so that no other estimate fits
        write(tmp_path / "ref", f"{name}.wav", sound)
        late = np.concatenate([np.zeros(111), np.repeat(sound, 3)])  # 48 kHz, roughly
        write(tmp_path / "my codec", f"{name}.flac", np.stack([late, late], 1), 48000)
    return tmp_path


def test_a_folder_gives_the_table_that_compare_would(folders):
    table = vr.evaluate_files(folders / "ref", folders / "my codec", metrics=FEW, workers=1)
    assert sorted(table["file"]) == ["a.wav", "sub/é.wav", "two words.wav"]
    assert set(table["method"]) == {"my codec"}
    assert set(table["lag_samples"]) <= {37, 38}  # repeating samples adds a third to one
    assert table["snr_db"].min() > 10
    assert table["rmse"].isna().all()
    assert table["notes"].str.contains("rmse: left out, as asked").all()
    assert table["error"].isna().all()
    assert table["model"].isna().all()
    wrong = vr.evaluate_files(
        folders / "ref", folders / "my codec", metrics=FEW, lag="none", workers=1
    )
    assert wrong["snr_db"].max() < 3
    assert str(folders) not in json.dumps(dict(table.attrs))


def test_the_numbers_are_those_of_compare_for_the_same_sound(tmp_path):
    sound = make_sound(2)
    write(tmp_path / "ref", "a.wav", sound)
    skipped = [name for name in METRICS if name not in FEW]
    own = compare(tmp_path / "ref", methods="silence", codecs="mp3:24", workers=1,
                  exclude_metrics=skipped).set_index("method").loc["mp3:24"]  # fmt: skip
    samples, level = vr.load_audio(tmp_path / "ref/a.wav").samples, None
    centred = samples - samples.mean()
    level = 0.5 / np.abs(centred).max()
    decoded, _, _ = code_sound(centred * level, "mp3", 24)
    sf.write(tmp_path / "b.wav", decoded / level, 16000, "FLOAT")
    found = vr.evaluate_files(tmp_path / "ref/a.wav", tmp_path / "b.wav", metrics=FEW, workers=1)
    assert found.loc[0, "method"] == "b"
    assert found.loc[0, "lag_samples"] == 0
    for name in FEW:
        assert found.loc[0, name] == pytest.approx(own[name], rel=1e-3)
    assert found.loc[0, "sha256"] == own["sha256"]


@pytest.mark.parametrize("late", [-700, 0, 1105])
def test_the_lag_is_found_and_taken_off(late):
    x = make_sound(1)
    moved = np.concatenate([np.zeros(max(0, late)), x[max(0, -late) :]])
    lag, correlation = find_lag(x, moved)
    assert lag == late
    assert correlation > 0.8
    aligned, notes = align(moved.astype(np.float32), len(x), late)
    whole = slice(max(0, -late), None)
    assert np.array_equal(aligned[whole], x[whole])
    assert notes == []


def test_much_that_is_cut_or_filled_is_noted():
    x = make_sound(1)
    assert align(x[:8000], 16000, 0)[1] == ["the estimate is 0.50 s shorter: filled with zeros"]
    assert align(x, 8000, 0)[1] == ["the estimate is 0.50 s longer: cut"]
    assert not align(x[:8000], 16000, 0)[0][8000:].any()


def test_a_lag_that_clips_do_not_show_is_none(tmp_path):
    for seed, name in enumerate(NAMES):
        write(tmp_path / "ref", f"{name}.wav", make_sound(1, seed))
        write(tmp_path / "est", f"{name}.wav", noise(16000, seed))
    with pytest.warns(UserWarning, match=r"lag: cannot be measured \(0 of 3 clips agree"):
        table = vr.evaluate_files(tmp_path / "ref", tmp_path / "est", metrics=FEW, workers=1)
    assert set(table["lag_samples"]) == {0}


def test_sounds_without_a_partner_are_named(folders):
    (folders / "my codec/a.flac").unlink()
    write(folders / "my codec", "extra.flac", make_sound(0.2))
    options = ("--metrics", "snr_db", "--workers", 1)
    done = run("evaluate", "ref", "my codec", *options, cwd=folders)
    assert done.status == 2
    assert "2 sounds without a partner" in done.stderr
    assert "(reference a.wav, estimate extra.flac)" in done.stderr
    done = run("evaluate", "ref", "my codec", *options, "--allow-missing", cwd=folders)
    assert done.status == 0, done.stderr
    assert "2 of 2 pairs measured" in done.stdout
    assert "got 2 sounds without a partner" in done.stderr
    assert "left out" in done.stderr


def test_pairs_of_other_names_stand_in_a_csv_file(folders):
    (folders / "p.csv").write_text("reference,estimate\na.wav,sub/é.flac\nsub/é.wav,a.flac\n")
    found = find_pairs(folders / "ref", folders / "my codec", folders / "p.csv", False)
    assert [(pair.key, pair.estimate.path) for pair in found] == [
        ("a.wav", str(folders / "my codec/sub/é.flac")),
        ("sub/é.wav", str(folders / "my codec/a.flac")),
    ]


def test_a_run_that_was_cut_short_goes_on_and_a_changed_estimate_is_done_again(
    folders, monkeypatch
):
    calls = []

    def count(reference, estimate):
        calls.append(len(reference))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.0

    metric = Metric("counted", "", count, best="lower", range="", perfect=0.0, caveat="")
    monkeypatch.setitem(ON_REQUEST, "counted", metric)
    output = folders / "t.csv"
    options = {"metrics": ["counted"], "workers": 1, "output": output}
    with pytest.raises(KeyboardInterrupt):
        vr.evaluate_files(folders / "ref", folders / "my codec", lag=37, **options)
    with pytest.raises(ValueError, match="resume"):
        vr.evaluate_files(folders / "ref", folders / "my codec", lag=38, resume=True, **options)
    write(folders / "my codec", "a.flac", make_sound(0.5))
    table = vr.evaluate_files(folders / "ref", folders / "my codec", lag=37, resume=True, **options)
    assert len(calls) == 3 + 2  # the one that was interrupted, and the one that has changed
    assert list(table["counted"]) == list(pd.read_csv(output)["counted"]) == [0.0] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reference,other\na.wav,a.flac\n", "columns reference and estimate"),
        ("", "columns reference and estimate"),
        ("reference,estimate\n", "0 rows, 0 references"),
        ("reference,estimate\na.wav,a.flac\na.wav,two words.flac\n", "2 rows, 1 references"),
        ("reference,estimate\na.wav,no.flac\n", "'no.flac'"),
    ],
)
def test_a_list_of_pairs_that_cannot_be_is_refused(folders, text, said):
    (folders / "p.csv").write_text(text)
    done = run("evaluate", "ref", "my codec", "--pairs", "p.csv", cwd=folders)
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("none.wav", "my codec"),
        ("ref", "none"),
        ("ref", "empty"),
        ("ref/a.wav", "my codec"),
        ("ref", "my codec", "--lag", "1.5"),
        ("ref", "my codec", "--metrics", "nonsense"),
        ("ref", "my codec", "--sets", "fad"),
        ("ref", "my codec", "--sets", "clap:"),
        ("ref", "my codec", "--output", "t.xlsx"),
        ("ref", "my codec", "--pairs", "none.csv"),
        ("twice", "my codec"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(folders, arguments):
    (folders / "empty").mkdir()
    for name in ("a.wav", "a.flac"):
        write(folders / "twice", name, make_sound(0.2))
    before = sorted(folders.rglob("*"))
    done = run("evaluate", *arguments, "--workers", 1, cwd=folders)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.count("\n") <= 2  # a usage line of click's before
    assert sorted(folders.rglob("*")) == before


@pytest.mark.process
def test_a_damaged_estimate_is_one_row_and_all_damaged_is_status_1(folders):
    (folders / "my codec/a.flac").write_bytes(b"nothing")
    args = ("evaluate", "ref", "my codec", "--metrics", "snr_db", "--workers", 1, "--output")
    done = run(*args, "t.csv", cwd=folders)
    assert done.status == 0, done.stderr
    rows = pd.read_csv(folders / "t.csv").set_index("file")
    assert rows["error"].notna().to_dict() == {
        "a.wav": True, "sub/é.wav": False, "two words.wav": False}  # fmt: skip
    assert str(folders) not in (folders / "t.csv").read_text()
    for name in NAMES:
        (folders / f"my codec/{name}.flac").write_bytes(b"nothing")
    done = run(*args, "u.csv", "--lag", "none", cwd=folders)
    assert done.status == 1
    assert "none of the clips could be measured" in done.stderr


@pytest.mark.needs("speechmos", "onnxruntime")
@pytest.mark.slow
def test_dnsmos_is_that_of_the_package_and_computed_only_where_named():
    from speechmos import dnsmos

    x = make_sound(11)  # two windows
    assert "dnsmos" not in vr.metrics.evaluate(x, x, exclude=METRICS)
    found = vr.metrics.evaluate(np.zeros_like(x), x, metrics=["dnsmos"])
    assert found["dnsmos"] == pytest.approx(dnsmos.run(x, 16000)["ovrl_mos"], abs=1e-6)
    loud = vr.metrics.evaluate(x, 5 * x, metrics=["dnsmos"])  # beyond -1..1, which it refuses
    assert loud["dnsmos"] is not None
    silent = vr.metrics.evaluate(x, 0 * x, metrics=["dnsmos"])
    assert (silent["dnsmos"], silent.notes["dnsmos"][:15]) == (None, "the estimate is")


def test_a_metric_of_an_extra_that_is_not_installed_is_null_with_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = vr.metrics.evaluate(make_sound(1), make_sound(1), metrics=["dnsmos"])
    assert found["dnsmos"] is None
    assert found.notes["dnsmos"] == "the package 'onnxruntime' is not installed here"
    assert not set(ON_REQUEST) & set(METRICS)


def moments(x):
    return x.mean(0), np.cov(x, rowvar=False)


@pytest.mark.slow
def test_distances_of_sets_are_in_the_table_and_said(tmp_path, tiny):
    sides = []
    for side, digits in (("ref", 9), ("est", 1)):
        for seed in range(3):
            write(tmp_path / side, f"{seed}.wav", np.round(make_sound(4, seed), digits))
        clips = [vr.load_audio(tmp_path / side / f"{seed}.wav").samples for seed in range(3)]
        latents = [tiny.encode(vr.log_mel(x)).double().numpy() for x in clips]  # [8, 100, 16]
        sides.append(np.concatenate([np.hstack(list(latent)) for latent in latents]))
    (m1, c1), (m2, c2) = map(moments, sides)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    frechet = np.square(m1 - m2).sum() + np.trace(c1 + c2 - 2 * root)
    args = ("evaluate", "ref", "est", "--metrics", "snr_db", "--workers", 1, "--sets", "latent")
    done = run(*args, "--output", "t.parquet", cwd=tmp_path)
    assert done.status == 0, done.stderr
    (found,) = pd.read_parquet(tmp_path / "t.parquet").attrs["sets"]
    assert (found["embedding"], found["embeddings"]) == ("latent", [300, 300])
    assert found["frechet"] == pytest.approx(frechet, rel=1e-3)
    assert found["kernel"] == pytest.approx(kernel_distance(*sides), rel=1e-4)
    assert f"frechet {found['frechet']:.4g}\n  kernel {found['kernel']:.4g}\n" in done.stdout
    (tmp_path / "est/2.wav").unlink()
    done = run(*args, "--allow-missing", cwd=tmp_path)  # 200 frames, of 128 values
    assert "frechet - (needs 256 embeddings in each set" in done.stdout
    expected = kernel_distance(*(side[:200] for side in sides))
    printed = float(done.stdout.split("kernel ")[1])
    assert printed == pytest.approx(expected, rel=1e-3)


CLIENT = """
import json, sys
from vaerecon.models.clap import load_clap
for source in sys.argv[2:]:
    try:
        print(json.dumps(load_clap(source)(sys.argv[1]).tolist()))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


@pytest.fixture
def small_clap(tmp_path):
    import torch
    from transformers import (
        ClapAudioConfig,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        ClapTextConfig,
    )

    text = ClapTextConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, intermediate_size=16,
                          num_attention_heads=2)  # fmt: skip
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=8, hidden_size=16, depths=[1, 1], num_attention_heads=[2, 2],
        num_hidden_layers=2,
    )  # fmt: skip
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=6)
    torch.manual_seed(0)
    folder = tmp_path / "clap"
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return folder


@pytest.fixture
def sounds(tmp_path):
    """Of 25 s, which makes three stretches, the last of 5 s; of 20.5 s, which makes two."""
    write(tmp_path, "a.wav", make_sound(25))
    write(tmp_path, "b.wav", noise(328000))
    return [str(tmp_path / name) for name in ("a.wav", "b.wav")]


@pytest.mark.process
@pytest.mark.slow
def test_clap_comes_from_a_hub_and_its_files_alone_are_asked_for(
    tmp_path, sounds, small_clap, monkeypatch
):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"model_type": "bert"}')
    with serve() as hub:
        hub.add("me/clap", small_clap)
        hub.add("me/other", tmp_path / "other")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, sounds[0], "me/clap", "me/other", "me/none",
             str(tmp_path / "other")],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        asked = set(hub.files_asked("me/clap"))
    assert done.returncode == 0, done.stderr
    found, other, none, folder = map(json.loads, done.stdout.splitlines())
    assert asked <= {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert np.shape(found) == (3, 6)
    assert other.startswith("ValueError: me/other: has no config.json, preprocessor_config.json")
    assert none.startswith("ValueError: me/none: no folder here, and not found")
    assert "expected a CLAP checkpoint" in folder
    assert "its model_type is 'bert'" in folder


@pytest.mark.slow
def test_clap_hears_stretches_of_10_s_at_its_own_rate(sounds, small_clap):
    import torch
    from transformers import ClapFeatureExtractor, ClapModel

    model, extractor = (x.from_pretrained(small_clap) for x in (ClapModel, ClapFeatureExtractor))
    sets = []
    for path, starts in zip(sounds, ([0, 10, 20], [0, 10]), strict=True):
        x = vr.load_audio(path, sample_rate=48000).samples
        mels = [extractor(x[48000 * s : 48000 * (s + 10)], sampling_rate=48000, return_tensors="pt")
                for s in starts]  # fmt: skip
        with torch.no_grad():
            outputs = [model.get_audio_features(**mel) for mel in mels]
        sets.append(torch.cat([getattr(y, "pooler_output", y) for y in outputs]).double().numpy())
    table = vr.evaluate_files(*sounds, lag="none", metrics=["rmse"], sets=f"clap:{small_clap}")
    (found,) = table.attrs["sets"]
    assert found["embeddings"] == [3, 2]
    assert found["kernel"] == pytest.approx(kernel_distance(*sets), rel=1e-4)
    assert (found["frechet"], found["notes"]["frechet"][:19]) == (None, "needs 12 embeddings")
