"""Mixed precision, the choice that is measured and remembered, and work on a core each."""

from __future__ import annotations

import copy
import json
import time

import pytest
import torch
from diffusers import AutoencoderKL
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from vaerecon.models import precision
from vaerecon.models.checkpoints import load


def make_vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=8,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(64, 64),
        layers_per_block=1,
    ).eval()


def make_vocoder() -> SpeechT5HifiGan:
    torch.manual_seed(0)
    config = SpeechT5HifiGanConfig(
        model_in_dim=64,
        upsample_initial_channel=128,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        normalize_before=False,
    )
    return SpeechT5HifiGan(config).eval()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder; no overrides; every model counts as large."""
    monkeypatch.setenv("VAERECON_CACHE", str(tmp_path))
    monkeypatch.delenv("VAERECON_DTYPE", raising=False)
    monkeypatch.setattr(precision, "LARGE", 0)
    return tmp_path


# ------------------------------------------------------------------ mixed precision


@torch.inference_mode()
@pytest.mark.parametrize("make", [make_vae, make_vocoder])
def test_mixed_is_near_float32_and_nearer_than_bfloat16(make):
    plain = make()
    mel = torch.empty(1, 16, 64).uniform_(-11.5, 0.0, generator=torch.Generator().manual_seed(0))

    def run(model) -> torch.Tensor:
        if isinstance(model, SpeechT5HifiGan):
            return model(mel.to(model.dtype)).float()
        picture = mel[None].to(model.dtype)
        return model.decode(model.encode(picture).latent_dist.mode()).sample.float()

    truth = run(plain)
    mixed = run(precision.mix(copy.deepcopy(plain)))
    short = run(copy.deepcopy(plain).to(torch.bfloat16))
    error, worse = ((y - truth).abs().mean() / truth.std() for y in (mixed, short))
    assert 0 < error < 0.02
    assert error < worse


def test_mixed_keeps_what_it_must():
    vae, vocoder = precision.mix(make_vae()), precision.mix(make_vocoder())
    assert vae.dtype == vocoder.dtype == torch.float32  # what the kit gives them
    assert precision.dtype_name(vae) == precision.dtype_name(vocoder) == "mixed"
    assert precision.dtype_name(make_vae()) == "float32"
    short = {name for name, p in vae.named_parameters() if p.dtype == torch.bfloat16}
    assert "encoder.down_blocks.0.resnets.0.conv1.weight" in short
    assert "encoder.mid_block.attentions.0.to_q.weight" in short
    for part in ("conv_in", "conv_out", "norm", "quant_conv"):
        assert not [name for name in short if part in name], part
    assert vocoder.conv_pre.weight.dtype == vocoder.conv_post.weight.dtype == torch.float32


@torch.inference_mode()
def test_mixed_models_are_copied_and_moved_like_others():
    mixed = precision.mix(make_vae())
    picture = torch.zeros(1, 1, 16, 64)
    expected = mixed.encode(picture).latent_dist.mode()
    other = copy.deepcopy(mixed)
    mixed.encoder.down_blocks[0].resnets[0].conv1.weight.zero_()  # the copy has its own weights
    assert torch.equal(other.encode(picture).latent_dist.mode(), expected)
    assert other.to(torch.float32).encode(picture).latent_dist.mode().dtype == torch.float32
    assert precision.dtype_name(other) == "float32"


@torch.inference_mode()
def test_mixed_models_are_saved_and_loaded(tmp_path):
    mel = torch.zeros(1, 16, 64)
    mixed = precision.mix(make_vocoder())
    expected = mixed(mel)
    mixed.save_pretrained(tmp_path / "vocoder")
    loaded = SpeechT5HifiGan.from_pretrained(tmp_path / "vocoder", dtype=torch.float32)
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, mixed.state_dict()[name].float()), name
    assert torch.equal(precision.mix(loaded)(mel), expected)
    precision.mix(make_vae()).save_pretrained(tmp_path / "vae")
    assert AutoencoderKL.from_pretrained(tmp_path / "vae").dtype == torch.float32


# ------------------------------------------------------------------ the choice


@pytest.mark.parametrize(("slow", "chosen"), [("float32", "mixed"), ("mixed", "float32")])
def test_the_quicker_is_taken_and_remembered(cache, slow, chosen):
    """Real models; which one is slow is decided here, by waiting."""
    calls = []

    def run(model) -> None:
        calls.append(precision.dtype_name(model))
        time.sleep(0.02 if calls[-1] == slow else 0.001)

    assert precision.dtype_name(precision.tune(make_vae(), run)) == chosen
    assert set(calls) == {"float32", "mixed"}
    (entry,) = json.loads((cache / "tuning.json").read_text()).values()
    assert entry["dtype"] == chosen
    assert entry["seconds"][chosen] < entry["seconds"][slow]
    calls.clear()
    assert precision.dtype_name(precision.tune(make_vae(), run)) == chosen
    assert not calls  # known: not measured again
    precision.tune(make_vocoder(), run)
    assert calls  # another architecture is


def test_overrides(cache, monkeypatch):
    def run(model):
        raise AssertionError("measured all the same")

    for wanted in precision.CHOICES:
        monkeypatch.setenv("VAERECON_DTYPE", wanted)
        assert precision.dtype_name(precision.tune(make_vae(), run)) == wanted
    monkeypatch.setenv("VAERECON_DTYPE", "int8")
    with pytest.raises(ValueError, match="VAERECON_DTYPE: got 'int8', expected 'auto' or one of"):
        precision.tune(make_vae(), run)
    assert not list(cache.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": {"dtype": "int8"}}'])
def test_a_spoiled_file_is_measured_over(cache, content):
    (cache / "tuning.json").write_text(content)
    precision.tune(make_vae(), lambda model: None)
    (entry,) = json.loads((cache / "tuning.json").read_text()).values()
    assert entry["dtype"] in precision.CHOICES


def test_a_cache_that_cannot_be_written_is_no_error(cache, monkeypatch):
    (cache / "file").write_text("")
    monkeypatch.setenv("VAERECON_CACHE", str(cache / "file" / "folder"))
    assert precision.dtype_name(precision.tune(make_vae(), lambda model: None)) in precision.CHOICES


def test_small_models_are_left_alone(cache, monkeypatch):
    monkeypatch.setattr(precision, "LARGE", 20_000_000)
    monkeypatch.setenv("VAERECON_DTYPE", "mixed")
    loaded = load("tiny", device="cpu", dtype="auto")
    assert loaded.dtype == precision.dtype_name(loaded.vae, loaded.vocoder) == "float32"
    assert not list(cache.iterdir())
    asked = load("tiny", device="cpu", dtype="mixed")
    assert asked.dtype == "mixed"
    assert precision.dtype_name(asked.vocoder) == "mixed"


def test_auto_tunes_large_models_on_the_cpu(cache, monkeypatch):
    monkeypatch.setenv("VAERECON_DTYPE", "mixed")
    assert load("tiny", device="cpu").dtype == "mixed"  # every model counts as large here
    assert load("tiny", device="cpu", dtype="float32").dtype == "float32"
