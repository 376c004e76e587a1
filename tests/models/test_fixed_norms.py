"""Statistics of group normalisations that are measured once: what they are, and whose."""

from __future__ import annotations

import copy

import pytest
import torch

import vaerecon as vr
from vaerecon.bundled import TINY
from vaerecon.models import autoencoder
from vaerecon.models.fixed_norms import FILE


@pytest.fixture
def pipe(tiny) -> vr.ReconstructionPipeline:
    """Of the same weights, without statistics."""
    return vr.ReconstructionPipeline(copy.deepcopy(tiny.vae), tiny.vocoder)


def test_on_the_clip_that_they_are_from_nothing_changes(pipe, sound):
    pipe.calibrate([sound])
    fixed, mel = pipe.fixed_vae(), vr.log_mel(sound)
    torch.testing.assert_close(autoencoder.encode(fixed, mel), pipe.encode(mel), atol=1e-3, rtol=0)
    latent = pipe.encode(mel)
    torch.testing.assert_close(
        autoencoder.decode(fixed, latent), pipe.decode(latent), atol=1e-3, rtol=0
    )
    quiet = mel - 2  # whose statistics are others
    assert (autoencoder.encode(fixed, quiet) - pipe.encode(quiet)).abs().max() > 0.1


def test_all_clips_count_alike_and_the_model_stays(pipe, tiny, sound):
    clips, found = [sound, 0.5 * sound[::-1].copy()], []
    for some in (clips[:1], clips[1:], clips):
        pipe.calibrate(some)
        found.append(pipe._norms[0])
    mean = (found[0][:, 0] + found[1][:, 0]) / 2
    torch.testing.assert_close(found[2][:, 0], mean, atol=1e-5, rtol=1e-5)
    spread = ((found[0][:, 0] - found[1][:, 0]) / 2).square()
    variance = (found[0][:, 1] + found[1][:, 1]) / 2 + spread
    torch.testing.assert_close(found[2][:, 1], variance, atol=1e-4, rtol=1e-4)
    shared = {p.data_ptr() for p in pipe.vae.parameters()}
    assert {p.data_ptr() for p in pipe.fixed_vae().parameters()} <= shared
    assert not any(module._forward_pre_hooks for module in pipe.vae.modules())
    mel = vr.log_mel(sound)
    assert torch.equal(pipe.encode(mel), tiny.encode(mel))


def test_they_are_saved_and_loaded_with_the_model(pipe, sound, tmp_path):
    pipe.calibrate([sound])
    pipe.save_pretrained(tmp_path / "mine")
    again = vr.ReconstructionPipeline.from_pretrained(tmp_path / "mine")
    assert torch.equal(again.fixed_norms()[0], pipe._norms[0])
    vr.Stream(again)
    assert torch.equal(vr.ReconstructionPipeline.from_pipe(again).fixed_norms()[0], pipe._norms[0])


def test_the_bundled_model_has_some_and_others_are_told_what_to_do(tiny, pipe, sound):
    assert (TINY / FILE).stat().st_size < 3000
    assert tiny.fixed_vae() is not None
    with pytest.raises(ValueError, match=r"no statistics .* pipe\.calibrate\(clips\)"):
        vr.Stream(pipe)
    vr.Stream(pipe, through_vae=False)  # needs none
    pipe.calibrate([sound])
    with torch.no_grad():
        next(pipe.vae.parameters())[0] += 0.1
    with pytest.raises(ValueError, match="other VAE weights"):
        vr.Stream(pipe)


@pytest.mark.parametrize("fault", ["cut", "nan", "owner"])
def test_a_damaged_file_is_refused(pipe, tmp_path, fault):
    from safetensors.torch import save_file

    path = tmp_path / FILE
    path.parent.mkdir()
    data = (TINY / FILE).read_bytes()
    path.write_bytes(data[:100])
    if fault != "cut":
        value = torch.nan if fault == "nan" else 1.0
        save_file({"statistics": torch.full((30, 2, 8), value)}, path,
                  {"vae": "00"} if fault == "nan" else None)  # fmt: skip
    pipe.folder = tmp_path
    with pytest.raises(ValueError, match="damaged"):
        vr.Stream(pipe)


def test_too_little_sound_to_measure_is_refused(pipe, sound):
    for clips in ([], [sound[:15000]]):
        with pytest.raises(ValueError, match="at least 1 s"):
            pipe.calibrate(clips)
