"""The method `fast`: its contract, its reach, and that it is worth having."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import small_network

from vaerecon.audio.clip import load_audio
from vaerecon.audio.samples import normalize_level
from vaerecon.bundled import TINY, demo_clips
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel, magnitude_to_log_mel
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import evaluate
from vaerecon.models.fast_vocoder import (
    LARGEST,
    MagnitudeNetwork,
    bundled_network,
    load_network,
    predict_magnitude,
    synthesize,
)
from vaerecon.pipeline.pipeline import ReconstructionPipeline


@pytest.fixture(scope="module")
def speech() -> tuple[torch.Tensor, torch.Tensor]:
    """Two seconds of the bundled speech ``[N]`` and their log-mel ``[T, 64]``."""
    samples, _ = normalize_level(load_audio(demo_clips()["demo_speech"]).samples[16000:48050])
    return samples, log_mel(samples, normalize=False)


def test_n_samples_in_n_samples_out_alone_and_in_a_batch(speech):
    samples, mel = speech
    network = bundled_network()
    alone = synthesize(network, mel, len(samples))
    assert alone.shape == samples.shape
    assert alone.dtype == torch.float32
    batch = synthesize(network, torch.stack([mel, mel.flip(0)]), len(samples))
    assert batch.shape == (2, len(samples))
    assert torch.equal(batch[0], alone)


def test_the_same_seed_gives_the_same_bits(speech):
    samples, mel = speech
    first, again, other = (
        METHODS["fast"].function(mel, len(samples), torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("shape", [(64, 100), (100, 63), (2, 64, 100), (1, 1, 100, 64)])
def test_another_layout_is_refused(shape):
    with pytest.raises(ValueError, match="got shape"):
        synthesize(small_network(), torch.zeros(shape), 16000)


def test_a_length_that_does_not_fit_is_refused(speech):
    with pytest.raises(ValueError, match="n_samples: got 1000"):
        synthesize(small_network(), speech[1], 1000)


def test_what_lies_beyond_the_reach_does_not_matter():
    network = small_network()
    mel = torch.randn(1, 60, 64, generator=torch.Generator().manual_seed(1)) - 6
    changed = mel.clone()
    changed[:, 40] += 3
    with torch.no_grad():
        moved = (network(changed) - network(mel)).abs().amax(dim=-1)[0] > 0
    assert network.reach == 6
    touched = moved.nonzero().flatten()
    assert touched.min() == 40 - network.reach
    assert touched.max() == 40 + network.reach


def test_the_magnitude_has_the_mel_that_was_given(speech):
    _, mel = speech
    back = magnitude_to_log_mel(predict_magnitude(bundled_network(), mel))
    loud = mel > AUDIOLDM_MEL.log_floor + 3
    assert (back - mel)[loud].abs().mean() < 0.05


@pytest.mark.parametrize("name", demo_clips())
def test_it_comes_nearer_than_griffin_lim(name):
    """With fewer steps, on clips that were in no training: the network knows fine structure."""
    samples, _ = normalize_level(load_audio(demo_clips()[name]).samples)
    mel = log_mel(samples, normalize=False)
    scores = {}
    for method in ("fast", "griffinlim"):
        estimate = METHODS[method].function(mel, len(samples), torch.Generator().manual_seed(0))
        scores[method] = evaluate(samples, estimate, metrics=["mrstft", "spectral_convergence_db"])
    for metric in ("mrstft", "spectral_convergence_db"):
        assert scores["fast"][metric] < scores["griffinlim"][metric]


def test_size_and_type_of_the_bundled_network():
    network = bundled_network()
    assert sum(p.numel() for p in network.parameters()) <= 3_000_000
    assert network.dtype == torch.float32
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("name", LARGEST)
@pytest.mark.parametrize("size", [0, -1, 10**9, 2.5, "8"])
def test_absurd_sizes_are_refused(name, size):
    with pytest.raises(ValueError, match=f"{name}: got"):
        MagnitudeNetwork(**{name: size})


def test_a_checkpoint_with_a_network_of_its_own_is_heard_with_it(tmp_path, tiny, speech):
    samples, mel = speech
    tiny.save_pretrained(tmp_path / "mine")
    plain = ReconstructionPipeline.from_pretrained(str(tmp_path / "mine"))
    small_network().save_pretrained(tmp_path / "mine" / "fast")
    own = ReconstructionPipeline.from_pretrained(str(tmp_path / "mine"))
    bundled = tiny.synthesize(mel, "fast", len(samples))
    assert torch.equal(plain.synthesize(mel, "fast", len(samples)), bundled)
    heard = own.synthesize(mel, "fast", len(samples))
    assert torch.equal(heard, synthesize(small_network(), mel, len(samples)))
    assert not torch.equal(heard, bundled)


def spoil(folder: Path, how: str) -> None:
    weights = folder / "diffusion_pytorch_model.safetensors"
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "absent":
        weights.unlink()
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"channels": 10**8}))


@pytest.mark.parametrize("how", ["truncated", "absent", "absurd"])
def test_a_damaged_network_is_named(tmp_path, how):
    folder = tmp_path / "mine" / "fast"
    small_network().save_pretrained(folder)
    spoil(folder, how)
    with pytest.raises(ValueError, match="mine/fast: got no network for the method 'fast'"):
        load_network(folder)


def test_the_shipped_config_names_no_path():
    assert "_name_or_path" not in json.loads((TINY / "fast" / "config.json").read_text())
