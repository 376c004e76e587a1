"""``vaerecon encode`` and ``vaerecon decode``."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.in_process import run

from vaerecon.codec import Header, LatentCodec
from vaerecon.mel.front_end import log_mel


@pytest.fixture
def song(tmp_path, sound):
    path = tmp_path / "song.wav"
    sf.write(path, 0.3 * sound[:15999], 16000, "FLOAT")
    return path


def test_a_file_comes_back_with_its_length_and_level(tmp_path, song, tiny):
    done = run("encode", song, "a.vrec", "--kbps", 6, "--seed", 3, cwd=tmp_path)
    assert (done.status, done.stderr) == (0, "")
    data = (tmp_path / "a.vrec").read_bytes()
    head = Header.read(data)
    assert head.kbps <= 6
    assert f"{head.kbps:.2f} kbit/s" in done.stdout
    done = run("decode", "a.vrec", "out/a.wav", cwd=tmp_path)
    assert (done.status, done.stderr) == (0, "")
    samples, rate = sf.read(tmp_path / "out/a.wav", dtype="float32")
    assert (len(samples), rate) == (15999, 16000)
    # the same by the pipeline's own calls, from the same bits
    mel = tiny.decode(LatentCodec.from_pretrained().decode(data), 100)
    own = tiny.synthesize(mel, "fast", 15999, torch.Generator().manual_seed(3)) / head.gain
    np.testing.assert_allclose(samples, own.numpy(), atol=1e-5)
    original = sf.read(song, dtype="float32")[0]
    assert 0.7 < np.std(samples) / np.std(original) < 1.4
    assert (log_mel(samples) - log_mel(original)).abs().mean() < 0.4


def test_another_method_and_seed_are_taken(tmp_path, song):
    run("encode", song, "a.vrec", cwd=tmp_path)
    sounds = []
    for options in ([], ["--method", "griffinlim"], ["--seed", "5"]):
        assert run("decode", "a.vrec", "a.wav", *options, cwd=tmp_path).status == 0
        sounds.append(sf.read(tmp_path / "a.wav")[0])
    assert not np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


def test_two_sounds_of_one_name_do_not_replace_each_other(tmp_path, song):
    (tmp_path / "in").mkdir()
    sound, rate = sf.read(song)
    for name in ("a.flac", "a.wav"):
        sf.write(tmp_path / "in" / name, sound, rate)
    done = run("encode", "in", "out", cwd=tmp_path)
    assert done.status == 1
    assert "a.vrec is already that of another file" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.vrec"]


@pytest.mark.process
def test_a_folder_keeps_its_tree_and_a_bad_file_is_one_line(tmp_path, song):
    (tmp_path / "in/deep").mkdir(parents=True)
    shutil.copy(song, tmp_path / "in/one.wav")
    shutil.copy(song, tmp_path / "in/deep/two.wav")
    (tmp_path / "in/bad.wav").write_bytes(b"nothing")
    done = run("encode", "in", "coded", cwd=tmp_path)
    assert done.status == 1
    assert "error: bad.wav: " in done.stderr
    assert "1 of 3 files failed" in done.stderr
    done = run("decode", "coded", "out", cwd=tmp_path)
    assert done.status == 0, done.stderr
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.wav")}
    assert found == {"one.wav", "deep/two.wav"}


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("encode none.wav a.vrec", "none.wav"),
        ("encode song.wav a.txt", ".vrec or .safetensors"),
        ("encode song.wav a.vrec --scaled", ".safetensors"),
        ("encode song.wav a.safetensors --kbps 6", "--kbps"),
        ("decode empty a.wav", "empty"),
        ("encode song.wav a.vrec --kbps 0.001", "too low"),
        ("encode song.wav a.vrec --kbps nan", "above 0"),
        ("encode song.wav a.vrec --method silence", "method"),
        ("encode empty a.vrec", "empty"),
        ("encode https://a.b/c.wav a.vrec", "address"),
        ("decode song.wav a.wav", "no .vrec"),
        ("decode cut.vrec a.wav", "cut short"),
        ("decode good.vrec a.mp3", ".wav"),
        ("decode good.vrec a.wav --method none", "method"),
        ("decode good.vrec a.wav --method oracle_phase", "original"),
    ],
)
def test_bad_input_is_one_line_status_2_and_nothing_written(tmp_path, song, command, word):
    (tmp_path / "empty").mkdir()
    data = LatentCodec.from_pretrained().encode(torch.zeros(8, 25, 16), step=8.0)
    (tmp_path / "good.vrec").write_bytes(data)
    (tmp_path / "cut.vrec").write_bytes(data[:-2])
    before = sorted(tmp_path.rglob("*"))
    done = run(*command.split(), cwd=tmp_path)
    assert done.status == 2
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
