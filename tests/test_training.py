"""Training at toy size: it learns, it resumes exactly, and what it exports loads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import make_sound

from vaerecon.mel import log_mel
from vaerecon.training.corpus import Augmentation, Corpus, held_out
from vaerecon.training.export import export
from vaerecon.training.loop import LoopConfig, learning_rate
from vaerecon.training.losses import log_mel_loss, multi_resolution_stft_loss
from vaerecon.training.vae import VaeObjective, VaeSize, build_vae, train_vae
from vaerecon.training.vocoder import VocoderObjective, VocoderSize, build_vocoder, train_vocoder

VAE_SIZE = VaeSize(block_out_channels=(4, 4, 4), norm_num_groups=2)
VOCODER_SIZE = VocoderSize(
    upsample_initial_channel=32,
    upsample_rates=(1, 10, 16),
    upsample_kernel_sizes=(1, 20, 32),
    resblock_dilation_sizes=((1,),),
)
PARTS = {
    "vae": (train_vae, VAE_SIZE, VaeObjective(frames=16)),
    "vocoder": (train_vocoder, VOCODER_SIZE, VocoderObjective(frames=16)),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of 12 sounds, of which the hash of the name holds some out."""
    folder = tmp_path_factory.mktemp("data")
    names = [f"sound_{i}.wav" for i in range(100)]
    chosen = [n for n in names if not held_out(n)][:10] + [n for n in names if held_out(n)][:2]
    for seed, name in enumerate(chosen):
        sf.write(folder / name, make_sound(0.7, seed), 16000)
    return folder


def run(part, data, output, steps, resume=False):
    train, size, objective = PARTS[part]
    config = LoopConfig(steps=steps, batch_size=2, save_every=2)
    torch.set_num_threads(1)
    train([data], output, config, size=size, objective=objective, resume=resume)
    return torch.load(output / f"{part}_run" / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("part", PARTS)
def test_a_resumed_run_takes_the_steps_of_an_uninterrupted_one(part, data, tmp_path, monkeypatch):
    whole = run(part, data, tmp_path / "whole", 6)

    from vaerecon.training.loop import TrainingLoop

    real, calls = TrainingLoop._one_step, []

    def killed(
        self,
    ):  # the machine goes down in the fourth step, after the checkpoint of the second
        calls.append(self.step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingLoop, "_one_step", killed)
        run(part, data, tmp_path / "cut", 6)
    resumed = run(part, data, tmp_path / "cut", 6, resume=True)
    assert resumed["step"] == whole["step"] == 6
    for name, value in whole["average"].items():
        assert torch.equal(value, resumed["average"][name]), name


def test_export_is_float16_with_checksums_and_loads_as_float32(data, tmp_path):
    for part in PARTS:
        run(part, data, tmp_path / "run", 2)
    digests = export(tmp_path / "run", tmp_path / "shipped")
    assert set(digests) == {"vae/diffusion_pytorch_model.safetensors", "vocoder/model.safetensors"}
    record = json.loads((tmp_path / "shipped" / "training.json").read_text())
    assert record["vae"]["config"]["steps"] == 2
    for path in (tmp_path / "shipped").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()

    from vaerecon.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline.from_pretrained(str(tmp_path / "shipped"), device="cpu")
    assert pipe.dtype == torch.float32
    assert pipe.decode(pipe.encode(log_mel(make_sound()))).shape == (100, 64)


def test_export_of_half_a_model_is_refused(data, tmp_path):
    run("vae", data, tmp_path / "run", 2)
    with pytest.raises(ValueError, match=r"has no vocoder/; train it first"):
        export(tmp_path / "run", tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_the_loss_falls(data, tmp_path):
    run("vae", data, tmp_path, 30)
    rows = (tmp_path / "vae_run" / "curve.csv").read_text().splitlines()[1:]
    maes = [float(row.split(",")[3]) for row in rows]
    assert len(rows) == 15
    assert np.mean(maes[-3:]) < 0.8 * np.mean(maes[:3])


def test_standardisation_is_folded_into_the_first_and_last_convolution():
    """The folded model on raw log-mel is the plain one on standardised log-mel."""
    x = torch.randn(1, 1, 32, 64)
    torch.manual_seed(0)
    plain = build_vae(VAE_SIZE, 0.0, 1.0)
    torch.manual_seed(0)
    folded = build_vae(VAE_SIZE, -5.0, 2.5)
    first, raw = plain.encoder.conv_in(x), folded.encoder.conv_in(2.5 * x - 5.0)
    # away from the border, where zero padding means another level
    torch.testing.assert_close(raw[..., 1:-1, 1:-1], first[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)
    hidden = torch.randn(1, 4, 8, 8)
    last = plain.decoder.conv_out(hidden)
    torch.testing.assert_close(folded.decoder.conv_out(hidden), 2.5 * last - 5.0)


def test_a_fresh_vocoder_makes_sound_of_a_sensible_level():
    torch.manual_seed(0)
    vocoder = build_vocoder(VocoderSize(), -5.0, 2.5)
    with torch.no_grad():
        samples = vocoder(log_mel(make_sound(), normalize=False)[None])
    assert samples.shape[-1] == 16000
    assert 1e-3 < float(samples.std()) < 0.5


def test_validation_files_are_never_trained_on(data):
    train, validation = Corpus([data]), Corpus([data], part="validation")
    assert len(train.clips) == 10
    assert len(validation.clips) == 2
    for clip in validation.clips:
        assert not any(np.array_equal(clip, other) for other in train.clips)


def test_crops_are_bounded_repeatable_and_changed(data):
    corpus = Corpus([data])
    first, again = (corpus.batch(8, 4000, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.abs().max() <= 0.5 + 1e-6
    always = Augmentation(speed=1, tilt=1, mix=1, gain=1)
    changed = corpus.batch(8, 4000, np.random.default_rng(5), always)
    assert torch.isfinite(changed).all()
    assert not torch.equal(first, changed)
    long = corpus.batch(2, 40000, np.random.default_rng(0))  # longer than every file
    assert long.shape == (2, 40000)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder with audio files"):
        Corpus([tmp_path])


def test_losses_are_zero_at_identity_and_grow_with_noise():
    x = torch.from_numpy(np.stack([make_sound(0.5, s) for s in range(2)]))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    mel = log_mel(x, normalize=False)
    for loss in (
        lambda y: multi_resolution_stft_loss(y, x),
        lambda y: log_mel_loss(y, mel),
    ):
        values = [float(loss(x + level * noise)) for level in (0.0, 0.001, 0.01, 0.1)]
        # not 0: log_mel_loss adds 1e-9 under its root for the gradient, log_mel does not
        assert values[0] < 1e-3
        assert values == sorted(values)


def test_gradients_are_finite_at_silence():
    y = torch.zeros(1, 4000, requires_grad=True)
    x = torch.zeros(1, 4000)
    loss = multi_resolution_stft_loss(y, x) + log_mel_loss(y, log_mel(x, normalize=False).clone())
    loss.backward()
    assert torch.isfinite(y.grad).all()


def test_schedule_rises_and_falls_within_its_bounds():
    config = LoopConfig(steps=100, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[0] < 0.1
    assert rates[-1] == pytest.approx(0.01, abs=1e-6)
