"""Losses point the right way, discriminators have the right shapes, and both can be descended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.sounds import make_sound

from vaerecon.mel.front_end import log_mel, stft_frames
from vaerecon.training.discriminators import PatchDiscriminator, SoundDiscriminator
from vaerecon.training.losses import (
    adversarial_loss,
    detail_energy_loss,
    discriminator_loss,
    feature_matching_loss,
    log_magnitude_loss,
    log_mel_loss,
    multi_resolution_stft_loss,
    multi_scale_log_mel_loss,
    root_magnitude_loss,
)

X = torch.from_numpy(np.stack([make_sound(0.5, s) for s in range(2)]))
MEL = log_mel(X, normalize=False).clone()
MAGNITUDE = stft_frames(X).abs()
ON_SAMPLES = {
    "stft": lambda y: multi_resolution_stft_loss(y, X),
    "mel": lambda y: log_mel_loss(y, MEL),
    "scales": lambda y: multi_scale_log_mel_loss(y, X),
    "log": lambda y: log_magnitude_loss(stft_frames(y).abs().clamp_min(1e-5).log(), MAGNITUDE),
    "root": lambda y: root_magnitude_loss(stft_frames(y).abs().clamp_min(1e-9).log(), MAGNITUDE),
}


@pytest.mark.parametrize("name", ON_SAMPLES)
def test_zero_at_identity_and_growing_with_noise(name):
    noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(0))
    values = [float(ON_SAMPLES[name](X + level * noise)) for level in (0.0, 0.001, 0.01, 0.1)]
    # not 0: some add 1e-9 under a root for the gradient, and log_mel does not
    assert values[0] < 1e-3
    assert values == sorted(values)
    assert values[-1] > 0.1


def test_losses_on_samples_do_not_hear_polarity():
    for name, loss in ON_SAMPLES.items():
        assert float(loss(-X)) == pytest.approx(float(loss(X)), abs=1e-5), name


def test_each_scale_of_the_mel_hears_what_it_is_for():
    click = torch.zeros(1, 8000)
    click[0, 4000] = 0.5
    moved = click.roll(120, -1)  # 7.5 ms: less than the front-end's window, more than a short one
    short, long = ((256, 64, 32),), ((2048, 512, 96),)
    of_click = [float(multi_scale_log_mel_loss(moved, click, s)) for s in (short, long)]
    t = torch.arange(8000) / 16000
    tones = [torch.sin(2 * np.pi * f * t)[None] * 0.5 for f in (300, 340)]
    of_tone = [float(multi_scale_log_mel_loss(*tones, s)) for s in (short, long)]
    # relative to each other: the short windows notice the click, the long ones the tone
    assert of_click[0] / of_tone[0] > 1.5 * of_click[1] / of_tone[1]


@pytest.mark.parametrize("name", ["stft", "mel", "scales"])
def test_gradients_are_finite_at_silence(name):
    y = torch.zeros_like(X, requires_grad=True)
    ON_SAMPLES[name](y).backward()
    assert torch.isfinite(y.grad).all()
    silence = torch.zeros_like(X)
    y = (1e-4 * X).requires_grad_()
    loss = multi_resolution_stft_loss(y, silence) + multi_scale_log_mel_loss(y, silence)
    loss.backward()
    assert torch.isfinite(y.grad).all()


def test_magnitude_losses_have_a_gradient_where_a_bin_is_silent():
    estimate = torch.full((1, 4, 513), -12.0, requires_grad=True)
    silence = torch.zeros(1, 4, 513)
    (log_magnitude_loss(estimate, silence) + root_magnitude_loss(estimate, silence)).backward()
    assert torch.isfinite(estimate.grad).all()


def test_lost_detail_is_asked_back_wherever_it_stands():
    rng = torch.Generator().manual_seed(0)
    detail = torch.randn(1, 1, 64, 64, generator=rng)
    smooth = torch.nn.functional.avg_pool2d(detail, 3, 1, 1)
    other = torch.randn(1, 1, 64, 64, generator=rng)
    assert float(detail_energy_loss(detail, detail)) == 0
    # an L1 would like the smooth one best
    assert detail_energy_loss(smooth, detail) > 5 * detail_energy_loss(other, detail)


# --- discriminators -------------------------------------------------------------------------------


def test_discriminators_give_feature_maps_and_logits():
    panel = SoundDiscriminator()(torch.randn(3, 4001))
    assert len(panel) == 5 + 3
    assert all(seen[-1].shape[:2] == (3, 1) for seen in panel)
    assert [len(seen) for seen in panel] == [6] * 5 + [5] * 3
    assert panel[1][0].shape == (3, 8, 445, 3)  # period 3: 1334 rows, every third

    (patches,) = PatchDiscriminator(-5.0, 2.5)(torch.randn(3, 1, 128, 64))
    assert [tuple(x.shape[1:]) for x in patches] == [(16, 64, 32), (32, 32, 16), (64, 16, 8),
                                                     (1, 16, 8)]  # fmt: skip
    (patches,) = PatchDiscriminator(-5.0, 2.5)(torch.randn(3, 1, 96, 513))
    assert patches[-1].shape == (3, 1, 12, 64)


def test_a_patch_discriminator_sees_only_its_patch():
    discriminator = PatchDiscriminator(0.0, 1.0)
    picture = torch.randn(1, 1, 160, 64).requires_grad_()
    discriminator(picture)[0][-1][0, 0, 10, 4].backward()
    rows = picture.grad[0, 0].abs().sum(dim=1).nonzero()
    assert int(rows.max() - rows.min()) + 1 <= 38


def test_discriminators_are_small():
    count = sum(p.numel() for p in SoundDiscriminator().parameters())
    assert count < 3e6  # HiFi-GAN's multi-period one alone has 41 million


def test_silence_breaks_no_discriminator():
    y = torch.zeros(1, 4000, requires_grad=True)
    panel = SoundDiscriminator()(y)
    adversarial_loss(panel).backward()
    assert torch.isfinite(y.grad).all()


def test_logits_and_losses_point_the_same_way():
    def logits(value):
        return [[torch.zeros(2, 3), torch.full((2, 1), value)] for _ in range(2)]

    assert discriminator_loss(logits(1.0), logits(0.0)) == 0
    assert discriminator_loss(logits(0.0), logits(1.0)) > 1
    assert adversarial_loss(logits(1.0)) < adversarial_loss(logits(0.0))


def test_features_match_at_identity_and_scale_does_not_matter():
    real = [[torch.randn(2, 8, 5), torch.randn(2, 1, 5)] for _ in range(3)]
    fake = [[x + 0.1 for x in seen] for seen in real]
    assert float(feature_matching_loss(real, real)) == 0
    loud = [[[10 * x for x in seen] for seen in panel] for panel in (real, fake)]
    one, ten = feature_matching_loss(real, fake), feature_matching_loss(*loud)
    assert one > 0
    torch.testing.assert_close(one, ten)


def test_a_discriminator_learns_to_tell_noise_from_sound():
    torch.manual_seed(0)
    discriminator = SoundDiscriminator(periods=(2,), period_channels=(4, 8), spectra=((512, 128),))
    optimizer = torch.optim.AdamW(discriminator.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        noise = 0.1 * torch.randn(2, 4000)
        loss = discriminator_loss(discriminator(X[:, :4000]), discriminator(noise))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
