"""docs/latents.md: its commands and its code run, on a tiny random AudioLDM2 of all parts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import soundfile as sf
import torch
from helpers.audioldm2 import save_tiny_audioldm2
from helpers.documents import read_blocks
from helpers.in_process import run
from safetensors.torch import load_file

PAGE = (Path(__file__).parent.parent / "docs/latents.md").read_text(encoding="utf-8")
STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sound):
    """Where the page's code finds its model, in place of the hub, and a clip."""
    path = tmp_path_factory.mktemp("page")
    save_tiny_audioldm2(path / "cvssp/audioldm2-music")
    sf.write(path / "song.wav", 0.3 * sound[:15999], 16000, "FLOAT")
    return path


def follow(folder, monkeypatch, strength):
    """Do what the page says; the names of its code afterwards."""
    monkeypatch.chdir(folder)
    names: dict = {}
    for block in read_blocks(PAGE):
        text = "\n".join(block.text.splitlines()[1:-1])
        if block.kind == "console code":
            done = run(*shlex.split(text)[1:], cwd=folder)
            assert done.status == 0, done.stderr
        if block.kind == "python code":
            for name, value in (("STRENGTH", strength), ("STEPS", STEPS)):
                text, count = re.subn(rf"^{name} = [\d.]+", f"{name} = {value}", text, flags=re.M)
                assert count == 1
            exec(compile(text, "docs/latents.md", "exec"), names)  # noqa: S102 (our page)
    return names


@pytest.mark.slow
def test_at_strength_0_the_clip_comes_back_bit_for_bit(folder, monkeypatch):
    follow(folder, monkeypatch, 0)
    arguments = ["song.safetensors", "same.wav", "--model", "cvssp/audioldm2-music"]
    assert run("decode", *arguments, cwd=folder).status == 0
    assert (folder / "changed.wav").read_bytes() == (folder / "same.wav").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "timesteps"), [(0.25, [1]), (1, [751, 501, 251, 1])])
def test_the_loop_is_the_pipeline_s(folder, monkeypatch, strength, timesteps):
    """From the noisy latent on, the pipeline gives the same, bit for bit."""
    names = follow(folder, monkeypatch, strength)
    pipe, noise = names["pipe"], names["noise"].to(names["device"])
    latents = load_file("song.safetensors", names["device"])["latents"]
    noisy = pipe.scheduler.add_noise(latents, noise, torch.tensor(timesteps[:1]))

    def set_timesteps(n, device):
        type(pipe.scheduler).set_timesteps(pipe.scheduler, n, device)
        pipe.scheduler.timesteps = torch.tensor(timesteps, device=device)

    monkeypatch.setattr(pipe.scheduler, "set_timesteps", set_timesteps)
    expected = pipe(
        names["PROMPT"], num_inference_steps=STEPS, guidance_scale=names["GUIDANCE"],
        latents=noisy, audio_length_in_s=1.0, output_type="latent",
    ).audios  # fmt: skip
    changed = load_file("changed.safetensors", names["device"])["latents"]
    assert changed.shape == (1, 8, 25, 16)
    assert torch.equal(changed, expected)
    assert sf.info("changed.wav").frames == 15999
