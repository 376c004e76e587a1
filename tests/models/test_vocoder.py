"""The vocoder's layout, length and lag, on real SpeechT5HifiGans of small sizes."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from vaerecon.models.vocoder import measure_lag, n_samples_out, receptive_field, vocode

AUDIOLDM2 = ((5, 4, 2, 2, 2), (16, 16, 8, 4, 4))  # rates and kernels; 160 T + 32 samples
EXACT = ((5, 4, 4, 2), (11, 8, 8, 4))  # 160 T samples


def build(rates_kernels=AUDIOLDM2, channels=32, seed=0, n_mels=64, **config) -> SpeechT5HifiGan:
    torch.manual_seed(seed)
    rates, kernels = rates_kernels
    options = {
        "model_in_dim": n_mels,
        "upsample_initial_channel": channels,
        "upsample_rates": list(rates),
        "upsample_kernel_sizes": list(kernels),
        "normalize_before": False,
    } | config
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**options)).eval()
    with torch.no_grad():  # the class starts so small that the samples would be 1e-10
        for layer in model.modules():
            if isinstance(layer, nn.Conv1d):
                nn.init.kaiming_normal_(layer.weight, a=0.1)
            elif isinstance(layer, nn.ConvTranspose1d):
                taps = layer.in_channels * layer.kernel_size[0] / layer.stride[0]
                nn.init.normal_(layer.weight, std=(2 / taps) ** 0.5)
        for block in model.resblocks:
            for layer in block.convs2:
                layer.weight *= 0.2
        model.conv_post.weight *= 0.02
    return model


def mirrored(vocoder: SpeechT5HifiGan) -> SpeechT5HifiGan:
    """All kernels made symmetric in time, so that only the geometry can shift anything."""
    with torch.no_grad():
        for layer in vocoder.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                layer.weight.copy_((layer.weight + layer.weight.flip(-1)) / 2)
    return vocoder


@pytest.fixture(scope="module")
def vocoder() -> SpeechT5HifiGan:
    return build()


def test_the_models_here_make_sound(vocoder, mel):
    """Else the comparisons below would compare zeros."""
    assert 0.02 < vocode(vocoder, mel).std() < 0.5


@pytest.fixture
def mel() -> torch.Tensor:
    """A batch of two log-mels, ``[2, 20, 64]``."""
    return torch.randn(2, 20, 64, generator=torch.Generator().manual_seed(1)) * 2 - 5


def test_lengths_of_single_and_batch(vocoder, mel):
    assert vocode(vocoder, mel).shape == (2, 3200)
    assert vocode(vocoder, mel[0]).shape == (3200,)
    assert vocode(vocoder, mel[:1]).shape == (1, 3200)  # a batch of one stays a batch
    assert vocode(vocoder, mel[0], n_samples=3000).shape == (3000,)
    assert vocode(vocoder, mel[0, :1]).shape == (160,)


def test_batch_equals_singles(vocoder, mel):
    # float32 sums in another order, on samples of about 0.1
    torch.testing.assert_close(vocode(vocoder, mel[1]), vocode(vocoder, mel)[1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rates_kernels", [AUDIOLDM2, EXACT])
@pytest.mark.parametrize("frames", [1, 7, 20])
def test_n_samples_out_is_what_the_model_gives(rates_kernels, frames):
    model = build(rates_kernels)
    with torch.no_grad():
        given = model(torch.zeros(1, frames, 64)).shape[-1]
    assert n_samples_out(model, frames) == given
    assert given == 160 * frames + (32 if rates_kernels is AUDIOLDM2 else 0)


def test_cut_pad_and_lag(vocoder, mel):
    mel = mel[:1]  # in a batch the model itself rounds differently
    with torch.no_grad():
        raw = vocoder(mel)
    cases = {0: raw, 16: raw[:, 16:], -10: nn.functional.pad(raw, (10, 0))}
    for lag, expected in cases.items():
        torch.testing.assert_close(
            vocode(vocoder, mel, 3100, lag), expected[:, :3100], atol=0, rtol=0
        )
    longer = vocode(vocoder, mel, 4000, 16)
    torch.testing.assert_close(longer[:, :3216], raw[:, 16:], atol=0, rtol=0)
    assert longer.shape == (1, 4000)
    assert (longer[:, 3216:] == 0).all()


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((64, 20), "looks transposed"),
        ((2, 64, 500), "looks transposed"),
        ((2, 1, 20, 64), "drop the channel axis"),
        ((20, 80), r"expected \[T, 64\]"),
    ],
)
def test_other_layouts_are_refused(vocoder, shape, hint):
    with pytest.raises(ValueError, match=hint):
        vocode(vocoder, torch.zeros(shape))


def test_the_error_that_the_check_replaces(vocoder):
    """What the model itself says to [B, 64, T]: the message that people have asked about."""
    with pytest.raises(RuntimeError, match="to have 64 channels, but got 500 channels"):
        vocoder(torch.zeros(1, 64, 500))


def test_bad_values_are_refused(vocoder, mel):
    with pytest.raises(ValueError, match="n_samples: got 0"):
        vocode(vocoder, mel, n_samples=0)
    mel[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^log-mel: got NaN"):
        vocode(vocoder, mel)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_returns_float32(mel, dtype):
    full, model = build(), build().to(dtype)
    samples = vocode(model, mel)
    assert samples.dtype == torch.float32
    expected = vocode(full, mel)
    # bfloat16 has 8 bits: 1.3 % of the samples' variation after some fifty layers
    assert (samples - expected).std() < 0.05 * expected.std()


def test_overflow_in_float16_is_an_error_with_its_cause(mel):
    model = build().half()
    with torch.no_grad():
        model.conv_pre.weight.fill_(6e4)
        model.conv_post.weight[..., 0] = -1  # infinity less infinity, which tanh cannot hide
    with pytest.raises(ValueError, match=r"^vocoder: gave NaN.*float16 overflowed"):
        vocode(model, mel)


def test_normalize_before_is_applied_by_the_model(mel):
    plain, normalizing = build(), build(normalize_before=True)
    normalizing.mean.fill_(-5.0)
    normalizing.scale.fill_(2.0)
    torch.testing.assert_close(
        vocode(normalizing, mel), vocode(plain, (mel + 5) / 2), atol=1e-6, rtol=0
    )  # the same numbers up to float32 rounding


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rates_kernels", "lag"), [(AUDIOLDM2, 16), (EXACT, 0)])
def test_lag_of_the_geometry(rates_kernels, lag, seed):
    """With kernels symmetric in time only the layers' geometry is left, whatever the weights.

    A stride of 5 with a kernel of 16 centres frame i at 5 i + 2.5 instead of 5 i + 2; the layers
    after it stretch that half step by 32 to 16 samples.
    """
    assert measure_lag(mirrored(build(rates_kernels, channels=64, seed=seed))) == lag


@pytest.mark.slow
def test_lag_of_untrained_weights_is_another_for_each_seed():
    """At AudioLDM2's size, as transformers draws them; within 2, for another rounding."""
    sizes = {"upsample_rates": AUDIOLDM2[0], "upsample_kernel_sizes": AUDIOLDM2[1]}
    for seed, lag in ((0, -21), (1, 31)):
        torch.manual_seed(seed)
        config = SpeechT5HifiGanConfig(
            model_in_dim=64, upsample_initial_channel=1024, normalize_before=False, **sizes
        )
        assert measure_lag(SpeechT5HifiGan(config).eval()) == pytest.approx(lag, abs=2)


@pytest.mark.parametrize("shift", [-3, -1, 2, 3])
def test_lag_sees_a_shift_of_single_samples(shift):
    """The last kernel (7 taps) reduced to one tap delays by whole samples."""
    model = mirrored(build(EXACT, channels=64))
    with torch.no_grad():
        taps = torch.zeros_like(model.conv_post.weight)
        taps[..., 3 - shift] = model.conv_post.weight.sum(-1)
        model.conv_post.weight.copy_(taps)
    assert measure_lag(model) == shift


def test_lag_taken_off_aligns():
    model = mirrored(build(channels=64))
    lag = measure_lag(model)
    impulse = torch.full((21, 64), -11.5)
    impulse[10] = 0.0
    silent = torch.full_like(impulse, -11.5)

    def center(lag):
        energy = (vocode(model, impulse, lag=lag) - vocode(model, silent, lag=lag)).double() ** 2
        return float((energy * torch.arange(len(energy))).sum() / energy.sum())

    # frame 10 stands for samples 1600 to 1679; float32 responses are symmetric to a few ulps
    assert center(0) == pytest.approx(1679.5 + 16, abs=0.1)
    assert center(lag) == pytest.approx(1679.5, abs=0.1)


def test_lag_is_deterministic_and_leaves_the_random_state(vocoder):
    state = torch.random.get_rng_state()
    assert measure_lag(vocoder) == measure_lag(vocoder)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_lag_of_a_mute_vocoder_warns():
    model = build()
    nn.init.zeros_(model.conv_post.weight)
    with pytest.warns(UserWarning, match="does not respond"):
        assert measure_lag(model) == 0


def test_lag_measurement_is_quiet(vocoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure_lag(vocoder)


def test_lag_needs_64_mels():
    with pytest.raises(ValueError, match=r"expected \[T, 80\]"):
        measure_lag(build(n_mels=80))


# ---- in chunks

LONG = torch.randn(2, 700, 64, generator=torch.Generator().manual_seed(3)) * 2 - 5
CASES = [AUDIOLDM2, EXACT]


@pytest.mark.parametrize("rates_kernels", CASES)
@pytest.mark.parametrize("frame", [200, 201])
def test_receptive_field_is_where_a_frame_stops_to_matter(rates_kernels, frame):
    model = build(rates_kernels)
    reach = receptive_field(model)
    changed = LONG[0, :400].clone()
    changed[frame] += 3.0
    with torch.no_grad():
        difference = (model(changed) - model(LONG[0, :400])).abs()
    touched = difference.nonzero()
    first, last = int(touched.min()) // 160, int(touched.max()) // 160
    assert frame - reach <= first
    assert last <= frame + reach
    # and not far wider than that: dead units may hide a frame or two
    assert min(frame - first, last - frame) >= reach - 5


def test_receptive_field_is_exact_where_every_weight_counts():
    """Layers for which a tap more or less of any convolution is a frame more or less."""
    small = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}
    model = build(((8,), (16,)), **small).double()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                layer.weight.fill_(1 / layer.weight[0].numel())
        low = torch.zeros(40, 64, dtype=torch.float64)
        high = low.clone()
        high[20] = 1.0
        touched = (model(high) - model(low)).nonzero()
    reach = receptive_field(model)
    assert (int(touched.min()) // 8, int(touched.max()) // 8) == (20 - reach, 20 + reach)


@pytest.mark.parametrize("rates_kernels", CASES)
@pytest.mark.parametrize("lag", [0, 16, -200])
@pytest.mark.slow
def test_chunks_equal_the_whole(rates_kernels, lag):
    model = build(rates_kernels)
    whole = vocode(model, LONG, lag=lag, chunk_seconds=10**4)
    chunked = vocode(model, LONG, lag=lag, chunk_seconds=3)
    assert whole.std() > 0.02
    # the bound; measured: 0, for every sum has the same terms
    torch.testing.assert_close(chunked, whole, atol=1e-4, rtol=0)


def test_chunks_of_a_single_item_and_of_odd_lengths():
    model = build()
    for n_samples in (700 * 160 + 500, 700 * 160 - 99, 1000):
        whole = vocode(model, LONG[0], n_samples, lag=16, chunk_seconds=10**4)
        chunked = vocode(model, LONG[0], n_samples, lag=16, chunk_seconds=2.5)
        assert chunked.shape == (n_samples,)
        torch.testing.assert_close(chunked, whole, atol=1e-4, rtol=0)


def test_a_chunk_shorter_than_what_it_needs_is_refused():
    with pytest.raises(ValueError, match=r"chunk: got windows of 20.*expected at least"):
        vocode(build(), LONG, chunk_seconds=0.2)
