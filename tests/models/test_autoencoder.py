"""The VAE's layout, padding, posterior and errors, on a real AutoencoderKL of a small size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.models.autoencoder import check_latent, decode, encode, kl_nats, posterior, reduction

SILENCE = AUDIOLDM_MEL.log_floor


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    """AudioLDM2's layout with few channels; random weights."""
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=4,
        sample_size=64,
    ).eval()


@pytest.fixture
def mel() -> torch.Tensor:
    """A batch of two log-mels, ``[2, 20, 64]``."""
    return torch.randn(2, 20, 64, generator=torch.Generator().manual_seed(1)) * 2 - 5


def test_shapes_of_single_and_batch(vae, mel):
    assert reduction(vae) == 4
    assert encode(vae, mel).shape == (2, 8, 5, 16)
    assert encode(vae, mel[0]).shape == (8, 5, 16)
    assert decode(vae, encode(vae, mel)).shape == (2, 20, 64)
    assert decode(vae, encode(vae, mel[0])).shape == (20, 64)


def test_batch_equals_singles(vae, mel):
    latent = encode(vae, mel)
    # float32 sums in another order: some ulps of values around 1
    torch.testing.assert_close(encode(vae, mel[1]), latent[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decode(vae, latent[1]), decode(vae, latent)[1], atol=1e-5, rtol=1e-5)


def test_is_the_model_with_its_channel_axis(vae, mel):
    """The unscaled latent and the picture are AutoencoderKL's own, nothing scaled or moved."""
    mel = mel[:1]  # in a batch the model itself rounds differently
    with torch.no_grad():
        latent = vae.encode(mel[:, None]).latent_dist.mode()
        picture = vae.decode(latent.contiguous()).sample
    torch.testing.assert_close(encode(vae, mel), latent, atol=0, rtol=0)
    torch.testing.assert_close(decode(vae, latent), picture[:, 0], atol=0, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 17, 18, 19])
def test_any_length_is_padded_with_silence_and_cut(vae, mel, frames):
    x = mel[0, :frames]
    whole = -(-frames // 4) * 4
    padded = torch.full((whole, 64), SILENCE)
    padded[:frames] = x
    latent = encode(vae, x)
    assert latent.shape == (8, whole // 4, 16)
    torch.testing.assert_close(latent, encode(vae, padded), atol=0, rtol=0)
    assert decode(vae, latent, n_frames=frames).shape == (frames, 64)


def test_padding_is_not_zero_which_is_loud(vae, mel):
    x = mel[0, :17]
    loud = torch.cat([x, torch.zeros(3, 64)])
    assert (encode(vae, x) - encode(vae, loud)).abs().max() > 1e-3


def test_cut_keeps_the_front(vae, mel):
    latent = encode(vae, mel)
    torch.testing.assert_close(
        decode(vae, latent, n_frames=13), decode(vae, latent)[:, :13], atol=0, rtol=0
    )


def test_mode_is_reproducible_and_sample_follows_the_posterior(vae, mel):
    mean, logvar = posterior(vae, mel[0])
    torch.testing.assert_close(encode(vae, mel[0]), mean, atol=0, rtol=0)

    def draw(seed):
        return encode(vae, mel[0], sample=True, generator=torch.Generator().manual_seed(seed))

    torch.testing.assert_close(draw(0), draw(0), atol=0, rtol=0)
    assert not torch.equal(draw(0), draw(1))
    standard = torch.stack([(draw(s) - mean) / (0.5 * logvar).exp() for s in range(50)])
    # 50 x 640 standard normals: the mean is within 5 / sqrt(32000) = 0.028 of 0, and the
    # deviation within 5 / sqrt(64000) = 0.02 of 1
    assert abs(standard.mean()) < 0.028
    assert abs(standard.std() - 1) < 0.02


def test_sampling_needs_a_generator(vae, mel):
    with pytest.raises(ValueError, match="generator: got None"):
        encode(vae, mel, sample=True)


def test_kl_is_that_of_torch_and_per_item():
    generator = torch.Generator().manual_seed(0)
    mean, logvar = torch.randn(2, 3, 8, 5, 16, generator=generator)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, (0.5 * logvar).exp()), normal(torch.zeros(()), torch.ones(()))
    ).mean(dim=(1, 2, 3))
    # float32 means over 640 values of order 1
    torch.testing.assert_close(kl_nats(mean, logvar), expected, atol=1e-5, rtol=1e-5)
    assert kl_nats(mean[0], logvar[0]).shape == ()
    assert kl_nats(torch.zeros(8, 5, 16), torch.zeros(8, 5, 16)) == 0


def test_takes_numpy_and_lists(vae, mel):
    expected = encode(vae, mel[0])
    torch.testing.assert_close(encode(vae, mel[0].numpy()), expected, atol=0, rtol=0)
    torch.testing.assert_close(encode(vae, mel[0].tolist()), expected, atol=0, rtol=0)
    assert decode(vae, expected.numpy()).dtype == torch.float32


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((2, 1, 20, 64), "drop the channel axis"),
        ((64, 20), "looks transposed"),
        ((2, 64, 20), "looks transposed"),
        ((20, 80), r"expected \[T, 64\]"),
        ((64,), r"expected \[T, 64\]"),
        ((0, 64), "no frames"),
    ],
)
def test_other_mel_layouts_are_refused(vae, shape, hint):
    with pytest.raises(ValueError, match=hint):
        encode(vae, torch.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((8, 16, 5), "looks transposed"),
        ((2, 8, 16, 5), "looks transposed"),
        ((5, 16, 8), "channels come last"),
        ((4, 5, 16), r"expected \[8, L, 16\]"),
        ((5, 16), r"expected \[8, L, 16\]"),
        ((8, 0, 16), r"expected \[8, L, 16\]"),
    ],
)
def test_other_latent_layouts_are_refused(vae, shape, hint):
    with pytest.raises(ValueError, match=hint):
        decode(vae, torch.zeros(shape))
    if hint == "channels come last":  # and the fix that the message names is one
        check_latent(vae, torch.zeros(shape).movedim(-1, -3))


@pytest.mark.parametrize("n_frames", [0, -1, 21])
def test_n_frames_out_of_range(vae, n_frames):
    with pytest.raises(ValueError, match=f"n_frames: got {n_frames}, expected 1 to 20"):
        decode(vae, torch.zeros(8, 5, 16), n_frames=n_frames)


def test_non_finite_input_is_named(vae, mel):
    mel[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match=r"^log-mel: got NaN"):
        encode(vae, mel)
    with pytest.raises(ValueError, match=r"^latent: got NaN"):
        decode(vae, torch.full((8, 5, 16), torch.inf))


def half(vae: AutoencoderKL, dtype: torch.dtype) -> AutoencoderKL:
    copy = AutoencoderKL.from_config(vae.config)
    copy.load_state_dict(vae.state_dict())
    return torch.nn.Module.to(copy.eval(), dtype)


def test_half_precision_runs_and_returns_float32(vae, mel):
    model = half(vae, torch.bfloat16)
    latent = encode(model, mel)
    assert latent.dtype == torch.float32
    # bfloat16 has 8 bits: about 1 % of the values, through some twenty layers
    error = (latent - encode(vae, mel)).std() / encode(vae, mel).std()
    assert 0 < error < 0.1
    assert decode(model, latent).dtype == torch.float32


def test_overflow_in_float16_is_an_error_with_its_cause(vae, mel):
    model = half(vae, torch.float16)
    with torch.no_grad():
        model.encoder.conv_in.weight.fill_(6e4)  # 9 taps x 11 nepers x 6e4 is beyond 65504
        model.decoder.conv_in.weight.fill_(6e4)
    with pytest.raises(ValueError, match=r"^VAE encoder: .*float16 overflowed.*bfloat16"):
        encode(model, mel)
    with pytest.raises(ValueError, match=r"^VAE decoder: .*float16 overflowed"):
        decode(model, torch.ones(8, 5, 16))


# ---- in windows

LONG = torch.randn(1030, 64, generator=torch.Generator().manual_seed(4)) * 2 - 5


def without_global_layers(vae: AutoencoderKL) -> AutoencoderKL:
    """A copy in which nothing sees more than its neighbourhood: no normalisation, no attention."""
    local = AutoencoderKL.from_config(vae.config)
    local.load_state_dict(vae.state_dict())
    for part in (local.encoder, local.decoder):
        part.mid_block.attentions[0] = None
        for name, module in list(part.named_modules()):
            if isinstance(module, torch.nn.GroupNorm):
                parent = part.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], torch.nn.Identity())
    return local.eval()


def test_convolutions_lose_nothing_in_windows(vae):
    """What is approximated is the normalisations and the attention, and nothing else."""
    local = without_global_layers(vae)
    whole = encode(local, LONG, chunk_seconds=10**4)
    # float32 sums in another order
    torch.testing.assert_close(encode(local, LONG, chunk_seconds=8), whole, atol=1e-4, rtol=1e-4)
    mel = decode(local, whole, n_frames=1030, chunk_seconds=10**4)
    assert mel.shape == (1030, 64)
    assert mel.std() > 1e-3
    chunked = decode(local, whole, n_frames=1030, chunk_seconds=8)
    torch.testing.assert_close(chunked, mel, atol=1e-4, rtol=1e-4)


def test_a_mel_of_one_window_is_computed_whole(vae):
    assert torch.equal(
        encode(vae, LONG, chunk_seconds=10.3), encode(vae, LONG, chunk_seconds=10**4)
    )
    assert not torch.equal(
        encode(vae, LONG, chunk_seconds=10.29), encode(vae, LONG, chunk_seconds=10**4)
    )


def test_windows_of_a_batch_equal_those_of_its_items(vae):
    batch = torch.stack([LONG, LONG.flip(0)])
    latent = encode(vae, batch, chunk_seconds=8)
    assert latent.shape == (2, 8, 258, 16)
    torch.testing.assert_close(
        encode(vae, batch[1], chunk_seconds=8), latent[1], atol=1e-5, rtol=1e-5
    )
    mel = decode(vae, latent, n_frames=1030, chunk_seconds=8)
    assert mel.shape == (2, 1030, 64)


def test_out_of_memory_in_the_encoder_falls_back_to_shorter_windows(vae, monkeypatch):
    real = vae.encode

    def scarce(picture):
        if picture.shape[2] > 900:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        return real(picture)

    expected = encode(vae, LONG, chunk_seconds=8)
    monkeypatch.setattr(vae, "encode", scarce)
    with pytest.warns(UserWarning, match=r"VAE encoder: out of memory.*--chunk-seconds 8"):
        found = encode(vae, LONG)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)
