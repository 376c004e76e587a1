"""The rate term of the VAE: what it adds to a training, and that the codec needs these bits."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.training_parts import VAE_SIZE, assert_same_end, run, write_sounds

from vaerecon.audio.clip import load_audio
from vaerecon.bundled import demo_clips
from vaerecon.codec import Header, LatentCodec
from vaerecon.codec.fitting import STEP_INDEX
from vaerecon.codec.quantiser import step_of
from vaerecon.mel.front_end import log_mel
from vaerecon.models.autoencoder import kl_nats, posterior
from vaerecon.training.loop import TrainingLoop
from vaerecon.training.losses import detail_energy_loss
from vaerecon.training.parts.part import Data
from vaerecon.training.parts.vae import VaeObjective, VaePart
from vaerecon.training.rate import STEP, Rate
from vaerecon.training.run import check_same
from vaerecon.training.run_files import read_curve
from vaerecon.training.settings import LoopConfig

WEIGHTED = VaeObjective(frames=16, rate_weight=0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    torch.set_num_threads(1)  # as `run` does
    return Data.read([write_sounds(tmp_path_factory.mktemp("data"))])


def test_without_a_weight_nothing_is_added(data):
    part = VaePart(data, LoopConfig(steps=1, batch_size=2), VaeObjective(16), size=VAE_SIZE)
    batch = part.with_mel(part.draw(np.random.default_rng(0)))
    torch.manual_seed(5)
    values = part.losses(batch, part.network(batch))
    after = torch.get_rng_state()
    torch.manual_seed(5)
    mel, vae = batch["mel"][:, None], part.model
    posterior = vae.encode(mel).latent_dist
    made = vae.decode(posterior.sample()).sample
    loss = F.l1_loss(made, mel) / data.deviation
    loss = loss + 1.3e-3 * kl_nats(posterior.mean, posterior.logvar).mean()
    loss = loss + 0.02 * detail_energy_loss(made, mel)
    assert torch.equal(values["loss"], loss)
    assert torch.equal(torch.get_rng_state(), after)
    assert "rate" not in values
    assert not dict(part.network.named_buffers())


@pytest.mark.slow
def test_a_weighted_run_goes_on_bit_by_bit_and_saves_a_plain_vae(data, tmp_path, monkeypatch):
    whole = run("vae", data, tmp_path / "whole", 4, objective=WEIGHTED)
    real = TrainingLoop._one_step

    def stopped(loop):
        if loop.step == 3:
            raise KeyboardInterrupt
        return real(loop)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingLoop, "_one_step", stopped)
        run("vae", data, tmp_path / "cut", 4, objective=WEIGHTED)
    resumed = run("vae", data, tmp_path / "cut", 4, objective=WEIGHTED, resume=True)
    assert_same_end(resumed, whole)
    assert whole["buffers"]["rate.moments"][0, 0] > 0.03  # four batches
    plain = run("vae", data, tmp_path / "plain", 2)
    assert whole["average"].keys() == plain["average"].keys()
    assert {"rate", "validation_rate"} <= read_curve(tmp_path / "whole/vae_run/curve.csv")[0].keys()


@pytest.mark.slow
def test_a_weight_lowers_the_rate(data, tmp_path):
    """Of the bundled VAE: the fresh one of a test has hardly any bits to lose."""
    ends = {}
    for weight in (1e-9, 1.0):
        objective = VaeObjective(frames=64, rate_weight=weight)
        start = {"init": "tiny", "size": None, "learning_rate": 2e-3, "batch_size": 4}
        run("vae", data, tmp_path / f"{weight}", 4, objective=objective, **start)
        ends[weight] = read_curve(tmp_path / f"{weight}/vae_run/curve.csv")[-1]["rate"]
    assert ends[1.0] < 0.8 * ends[1e-9]


def test_the_estimate_is_near_what_the_codec_needs(tiny):
    """Within 10 %: residuals are no Gaussians, and the codec has a dead zone and fixed tables."""
    assert step_of(STEP_INDEX) == STEP
    clips = [load_audio(path).samples for path in demo_clips().values()]
    posteriors = [posterior(tiny.vae, log_mel(clip)) for clip in clips]
    coded = [LatentCodec.fit(clips, tiny).encode(mean, step=STEP) for mean, _ in posteriors]
    needed = sum(8 * Header.read(data).payload for data in coded)
    mean, logvar = (torch.cat(parts, dim=1)[None] for parts in zip(*posteriors, strict=True))
    rate = Rate()
    assert float(rate(mean, logvar)) == pytest.approx(needed / mean.numel(), rel=0.1)


def test_a_frozen_encoder_cannot_lower_its_rate(data, tmp_path):
    with pytest.raises(ValueError, match=r"rate_weight: got 0\.1 for an encoder that is frozen"):
        run("vae", data, tmp_path, 2, objective=WEIGHTED, freeze_encoder=True)


def test_a_training_from_before_the_term_does_not_go_on_with_it(tmp_path):
    config = LoopConfig(steps=2)
    objective = asdict(VaeObjective())
    del objective["rate_weight"]
    state = {"config": asdict(config), "objective": objective}
    check_same(state, config, VaeObjective(), tmp_path)
    with pytest.raises(ValueError, match=r"began with rate_weight = 0\.0, got 0\.1"):
        check_same(state, config, VaeObjective(rate_weight=0.1), tmp_path)


def test_a_crop_of_one_latent_frame_has_no_rate(data, tmp_path):
    objective = VaeObjective(frames=4, rate_weight=0.1)
    with pytest.raises(ValueError, match="got crops of 4 mel frames, expected at least 8"):
        run("vae", data, tmp_path, 2, objective=objective)
