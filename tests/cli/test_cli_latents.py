"""``vaerecon encode`` and ``decode`` with ``.safetensors`` files."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.in_process import run
from safetensors import safe_open
from safetensors.torch import save_file

from vaerecon.audio.clip import load_audio
from vaerecon.codec import decode_latents, encode_latents


@pytest.fixture
def song(tmp_path, sound):
    path = tmp_path / "Lied \u00c4 1.wav"
    sf.write(path, 0.3 * sound[:15999] + 0.01, 16000, "FLOAT")
    return path


def read(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.slow
def test_a_file_of_latents_decodes_to_what_the_pipeline_gives_bit_for_bit(tmp_path, song, tiny):
    assert run("encode", song, "a.safetensors", cwd=tmp_path).status == 0
    assert run("decode", "a.safetensors", "a.wav", cwd=tmp_path).status == 0
    result = tiny(load_audio(song), ["fast"])
    tensors, facts = read(tmp_path / "a.safetensors")
    assert torch.equal(tensors["mean"], result.latent)
    assert tensors["deviation"].shape == (8, 25, 16)
    assert (tensors["deviation"] > 0).all()
    assert facts["n_samples"] == "15999"
    np.testing.assert_array_equal(
        sf.read(tmp_path / "a.wav", dtype="float32")[0], result.audio["fast"].numpy()
    )
    assert run("encode", song, "s.safetensors", "--scaled", cwd=tmp_path).status == 0
    scaled, _ = read(tmp_path / "s.safetensors")
    assert list(scaled) == ["latents"]
    assert torch.equal(scaled["latents"], tensors["mean"][None] * tiny.vae.config.scaling_factor)
    decode_latents(tmp_path / "s.safetensors", tmp_path / "s.wav", tiny)
    np.testing.assert_allclose(
        sf.read(tmp_path / "s.wav")[0], sf.read(tmp_path / "a.wav")[0], atol=1e-3
    )


def test_a_folder_of_sounds_and_a_folder_of_both_kinds(tmp_path, song):
    (tmp_path / "in/deep").mkdir(parents=True)
    song.rename(tmp_path / "in/deep/one.wav")
    assert run("encode", "in", "coded", "--scaled", cwd=tmp_path).status == 0
    assert run("encode", "in", "coded/bits", cwd=tmp_path).status == 0
    assert run("decode", "coded", "out", cwd=tmp_path).status == 0
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.wav")}
    assert found == {"deep/one.wav", "bits/deep/one.wav"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t, f: ({"mean": t["mean"] * torch.nan}, f), "latents: got NaN"),
        (lambda t, f: ({"mean": t["mean"].transpose(1, 2).contiguous()}, f), "transposed"),
        (lambda t, f: ({"mean": t["mean"][:, 1:].contiguous()}, f), "length 25"),
        (lambda t, f: ({"latents": torch.zeros(2, 8, 25, 16)}, f), "one item"),
        (lambda t, f: (t | {"latents": t["mean"][None].clone()}, f), "leave one out"),
        (lambda t, f: ({"other": t["mean"]}, f), "expected one of"),
        (lambda t, f: (t, f | {"vae": "0" * 16}), "--model"),
        (lambda t, f: (t, f | {"gain": "0"}), "gain"),
        (lambda t, f: (t, None), "metadata"),
    ],
)
def test_a_file_that_is_not_of_this_model_is_refused(tmp_path, song, tiny, change, word):
    encode_latents(song, tmp_path / "a.safetensors", tiny)
    tensors, facts = change(*read(tmp_path / "a.safetensors"))
    save_file(tensors, tmp_path / "b.safetensors", facts)
    before = sorted(tmp_path.rglob("*"))
    done = run("decode", "b.safetensors", "b.wav", cwd=tmp_path)
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert word in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_no_or_a_cut_file_is_one_line(tmp_path, song, tiny):
    encode_latents(song, tmp_path / "a.safetensors", tiny)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-9])
    for name, word in (("cut", "damaged"), ("none", "none.safetensors")):
        done = run("decode", f"{name}.safetensors", "b.wav", cwd=tmp_path)
        assert (done.status, done.stderr.count("\n")) == (2, 1)
        assert word in done.stderr


@pytest.mark.slow
def test_a_long_clip_goes_through_the_pipeline_s_windows(tmp_path, sound, tiny):
    path = tmp_path / "long.wav"
    sf.write(path, np.tile(sound, 1 + 14 * 16000 // len(sound))[: 14 * 16000], 16000, "FLOAT")
    whole = tiny.chunk_seconds
    try:
        tiny.chunk_seconds = 8
        encode_latents(path, tmp_path / "a.safetensors", tiny)
        expected = tiny(
            load_audio(path), ["griffinlim"], without_vae=False, exclude_metrics=["visqol"]
        )
        decode_latents(tmp_path / "a.safetensors", tmp_path / "a.wav", tiny, "griffinlim")
    finally:
        tiny.chunk_seconds = whole
    samples = sf.read(tmp_path / "a.wav", dtype="float32")[0]
    np.testing.assert_array_equal(samples, expected.audio["griffinlim"].numpy())
