"""The front-end: equal to the official one, whatever it is fed with."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from transformers import SpeechT5HifiGanConfig

from vaerecon.audio.samples import as_samples, normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig, check_model_configs
from vaerecon.mel.filters import mel_filters, sum_bands
from vaerecon.mel.front_end import (
    check_log_mel,
    hann_window,
    log_mel,
    magnitude_to_log_mel,
    magnitudes,
    naive_log_mel,
    stft_frames,
)

DATA = Path(__file__).parents[1] / "data"
FRAMINGS = ("train", "inference")
FLOOR = math.log(1e-5)
TINY = (1, 100, 431, 432, 433, 591, 592, 593)  # about the padding (432) and padding + hop (592)


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """Three seconds at 16 kHz, with a mean and a peak that the front-end has to remove."""
    samples, rate = soundfile.read(DATA / "reference.wav", dtype="float32")
    assert rate == 16000
    return samples


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """White noise of deviation 0.1."""
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Equal to the official front-ends


@pytest.mark.parametrize("framing", FRAMINGS)
def test_golden(reference: np.ndarray, framing: str) -> None:
    """The goldens were made by the official code from the same file.

    The tolerances are for another FFT's and matrix product's rounding in float32 (measured here:
    mean 5e-6, largest 1e-3, beside the floor, where the logarithm is steepest). The two framings
    differ from each other by 0.1 on average.
    """
    golden = np.load(DATA / "reference_mel.npz")[framing]
    assert golden.shape == ({"train": 300, "inference": 301}[framing], 64)
    mel = log_mel(reference, framing=framing)
    assert (mel.dtype, mel.shape) == (torch.float32, golden.shape)
    difference = np.abs(mel.numpy() - golden)
    assert difference.mean() < 1e-4
    assert difference.max() < 1e-2


def test_framings_are_different(reference: np.ndarray) -> None:
    train, inference = (log_mel(reference, framing=framing) for framing in FRAMINGS)
    assert (train - inference[:-1]).abs().mean() > 0.05  # 500 times the goldens' tolerance


def test_filters_are_librosas() -> None:
    expected = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=64, fmin=0, fmax=8000)
    assert np.array_equal(mel_filters().numpy(), expected.T)


@pytest.mark.parametrize(
    "settings",
    [{}, {"n_mels": 1}, {"n_mels": 5}, {"n_mels": 100, "fmin": 50.0, "fmax": 7000.0},
     {"n_fft": 256, "win_length": 256, "n_mels": 128}, {"fmin": 5000.0, "fmax": 6000.0}],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Empty filters")  # librosa's, of more bins than frequencies
def test_summing_in_bands_is_the_product_with_the_filters(settings) -> None:
    config = MelConfig(**settings)
    bins = config.n_fft // 2 + 1
    magnitude = torch.rand(2, 3, bins, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mel = sum_bands(magnitude, config)
    torch.testing.assert_close(mel, magnitude @ mel_filters(config))
    assert torch.equal(mel > 0, magnitude @ mel_filters(config) > 0)


def test_magnitudes_are_absolute_values() -> None:
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.complex(
        torch.randn(7, 513, generator=generator), torch.randn(7, 513, generator=generator)
    )
    spectrum[0, :3] = torch.tensor([0j, 1e-30 + 0j, 3 + 4j])
    for values in (spectrum, spectrum[:, ::2], spectrum.to(torch.complex128)):
        torch.testing.assert_close(magnitudes(values), values.abs())
        learned = values.clone().requires_grad_()
        magnitudes(learned).sum().backward()
        assert learned.grad is not None


def test_window_is_the_periodic_hann_window() -> None:
    expected = scipy.signal.get_window("hann", 1024, fftbins=True)
    # float32 cosines; the symmetric window differs by 3e-3
    np.testing.assert_allclose(hann_window().numpy(), expected, rtol=0, atol=1e-6)


def test_magnitude_not_power_and_natural_logarithm(reference: np.ndarray) -> None:
    quiet = log_mel(reference * 0.5, normalize=False)
    loud = log_mel(reference, normalize=False)
    above = quiet > FLOOR
    # half the amplitude is ln 2 less (a power mel: 2 ln 2; decibels: 6.02); float32 near -11
    assert ((loud - quiet)[above] - math.log(2)).abs().max() < 1e-5


def test_a_tone_lands_in_its_filter() -> None:
    centers = librosa.mel_frequencies(n_mels=66, fmin=0, fmax=8000)[1:-1]
    for band in (5, 20, 40, 60):
        tone = torch.sin(2 * math.pi * float(centers[band]) * torch.arange(3200) / 16000)
        assert log_mel(tone)[5:-5].mean(dim=0).argmax() == band


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_impulse_is_loudest_in_the_frame_whose_centre_is_nearest(framing: str) -> None:
    # away from the ends, where a reflected second impulse joins in
    for position in (1000, 1039, 1041, 1119, 1121, 1160, 1275, 1359, 1361):
        samples = torch.zeros(3200)
        samples[position] = 1
        energy = log_mel(samples, framing=framing, normalize=False).exp().sum(dim=-1)
        centers = [AUDIOLDM_MEL.frame_center(i, framing) for i in range(len(energy))]
        nearest = min(range(len(centers)), key=lambda i: abs(centers[i] - position))
        assert energy.argmax() == nearest


def test_frame_centres() -> None:
    assert [AUDIOLDM_MEL.frame_center(i, "train") for i in (0, 1, 10)] == [80, 240, 1680]
    assert [AUDIOLDM_MEL.frame_center(i, "inference") for i in (0, 1, 10)] == [0, 160, 1600]
    assert AUDIOLDM_MEL.log_floor == pytest.approx(-11.5129, abs=1e-4)  # as published
    assert AUDIOLDM_MEL.frames_per_second == 100


# Any length


@pytest.mark.parametrize("n", [*TINY, 159, 160, 161, 1600, 1601, 1759, 1760, 16001])
def test_frames_cover_every_sample(n: int) -> None:
    for framing, extra in (("train", 0), ("inference", 1)):
        mel = log_mel(noise(n), framing=framing, normalize=False)
        assert mel.shape == (math.ceil(n / 160) + extra, 64)
        assert mel.shape[0] == AUDIOLDM_MEL.n_frames(n, framing)
        assert torch.isfinite(mel).all()
        assert mel.min() >= FLOOR
        # something is heard in every frame, the last samples' frame too
        assert (mel.amax(dim=-1) > FLOOR + 1).all()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_frames_inside_do_not_depend_on_where_the_clip_ends(framing: str) -> None:
    x = noise(4000)
    whole = log_mel(x, framing=framing, normalize=False)
    for n in (2000, 2001, 2159, 2160):
        part = log_mel(x[:n], framing=framing, normalize=False)
        inside = [i for i in range(len(part)) if AUDIOLDM_MEL.frame_center(i, framing) + 512 <= n]
        assert len(inside) >= 9
        # the same frames through another FFT batch: float32 rounding
        torch.testing.assert_close(part[inside], whole[inside], rtol=0, atol=1e-4)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_padding_is_by_reflection(framing: str) -> None:
    """As ``numpy.pad`` and ``numpy.fft`` in float64 do it, for a clip of whole hops."""
    x, pad = noise(1600).numpy(), AUDIOLDM_MEL.padding(framing)
    padded = np.pad(x.astype(np.float64), pad, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 1024)[::160]
    expected = np.abs(np.fft.rfft(frames * scipy.signal.get_window("hann", 1024)))
    spectrum = stft_frames(torch.from_numpy(x), framing=framing)
    assert spectrum.shape == expected.shape
    # sums of 1024 values of about 0.1 in float32
    np.testing.assert_allclose(spectrum.abs().numpy(), expected, atol=1e-4)


# Any input


def test_batch_equals_singles(reference: np.ndarray) -> None:
    # other levels and another mean in each row: each is normalised by itself
    batch = np.stack([reference[:16000], 0.1 * reference[16000:32000] + 0.2, reference[-16000:]])
    for framing in FRAMINGS:
        together = log_mel(batch, framing=framing)
        assert together.shape == (3, 100 + (framing == "inference"), 64)
        for i in range(3):
            # the same operations in another order: float32 rounding, largest at the floor
            single = log_mel(batch[i], framing=framing)
            torch.testing.assert_close(together[i], single, rtol=0, atol=1e-3)


def test_numpy_torch_and_lists_are_the_same() -> None:
    x = noise(1000).numpy()
    expected = log_mel(x)
    for samples in (
        torch.from_numpy(x),
        x.tolist(),
        x.astype(np.float64),
        torch.tensor(x).double(),
    ):
        assert torch.equal(log_mel(samples), expected)


def test_input_is_left_alone() -> None:
    x = noise(1000).numpy() + 1
    before = x.copy()
    log_mel(x)
    naive_log_mel(np.tile(x, 2))
    assert np.array_equal(x, before)


def test_gradients_flow_after_the_cached_filters_were_made_in_inference_mode() -> None:
    config = MelConfig(n_mels=63)  # not in the caches yet
    log_mel(noise(1000), config)
    x = noise(1000).requires_grad_()
    magnitude_to_log_mel(stft_frames(x, config).abs(), config).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


def test_another_config() -> None:
    config = MelConfig(sample_rate=22050, n_mels=80, hop_length=256)
    assert log_mel(noise(2560), config).shape == (10, 80)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            np.zeros((1, 1, 100)),
            r"samples: got shape \[1, 1, 100\], expected \[N\] or \[B, N\]; mix",
        ),
        (np.float32(0), r"samples: got shape \[\], expected \[N\] or \[B, N\]"),
        ([], r"samples: got none \(shape \[0\]\), expected at least one"),
        (np.zeros((100, 2)), r"got shape \[100, 2\], which looks like \[N, channels\]; expected"),
        ([0.0, float("nan")], r"got NaN or infinite values, expected finite ones; clean them"),
        ([0.0, float("inf")], r"got NaN or infinite values, expected finite ones; clean them"),
    ],
)
def test_refused_samples(samples: object, message: str) -> None:
    for function in (as_samples, normalize_level, log_mel, naive_log_mel):
        with pytest.raises(ValueError, match=message):
            function(samples)


def test_samples_whose_sum_is_not_finite_may_be() -> None:
    loud = [3e38, 3e38, -1.0]
    assert as_samples(loud).tolist() == pytest.approx(loud)


def test_refused_framing() -> None:
    with pytest.raises(ValueError, match="framing: got 'center', expected 'train' or 'inference'"):
        log_mel(noise(1000), framing="center")


# Level


def test_level_is_normalised_and_restored() -> None:
    x = torch.stack([noise(1000) * 3 + 0.5, noise(1000, seed=1) * 1e-3 - 7])
    for samples in (x, x[0]):
        normalized, level = normalize_level(samples)
        torch.testing.assert_close(
            normalized.abs().amax(dim=-1), torch.full(samples.shape[:-1], 0.5), rtol=1e-6, atol=0
        )
        # float32 beside a mean of 7 has steps of 5e-7, and 1e-3 of signal becomes 0.5
        assert normalized.mean(dim=-1).abs().max() < 1e-3
        expected = samples - samples.mean(dim=-1, keepdim=True)  # the mean stays removed
        torch.testing.assert_close(level.restore(normalized), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("gain", "mean"), [(3, 0.2), (1e-3, 0), (1, 0.5), (100, -1), (-1, 0)])
def test_gain_and_mean_change_nothing(reference: np.ndarray, gain: float, mean: float) -> None:
    difference = (
        log_mel(reference * np.float32(gain) + np.float32(mean)) - log_mel(reference)
    ).abs()
    # rounding of the shifted samples (24 bits): measured 1e-3 at most, just above the floor
    assert difference.mean() < 1e-4
    assert difference.max() < 1e-2


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_silence_is_the_floor_and_warns(value: float) -> None:
    for framing, n_frames in (("train", 10), ("inference", 11)):
        with pytest.warns(UserWarning, match="samples are silent"):
            mel = log_mel(torch.full((1600,), value), framing=framing)
        assert torch.equal(mel, torch.full((n_frames, 64), AUDIOLDM_MEL.floor).log())
    with pytest.warns(UserWarning, match="samples are silent"):
        normalized, level = normalize_level(torch.full((1600,), value))
    assert not level.restore(normalized).any()


def test_one_silent_clip_in_a_batch_leaves_the_others_alone() -> None:
    batch = torch.stack([noise(1600), torch.zeros(1600)])
    with pytest.warns(UserWarning, match="samples are silent"):
        mel = log_mel(batch)
    assert (mel[1] == mel[1].min()).all()
    torch.testing.assert_close(mel[0], log_mel(batch[0]), rtol=0, atol=1e-3)  # as batch and single


def test_sound_does_not_warn(reference: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_mel(reference)


# The naive front-end


def test_naive_is_another_picture(reference: np.ndarray) -> None:
    naive = naive_log_mel(reference)
    assert (naive.dtype, naive.shape) == (torch.float32, (301, 64))
    assert (naive.min(), naive.max()) == (0, 1)
    # no change of scale and offset turns it into the true one, on either grid of frames
    for framing in FRAMINGS:
        true = log_mel(reference, framing=framing).flatten().double()
        x = naive[: len(true) // 64].flatten().double()
        design = torch.stack([x, torch.ones_like(x)], dim=-1)
        scale_and_offset = torch.linalg.lstsq(design, true[:, None]).solution
        left = (design @ scale_and_offset - true[:, None]).abs().mean()
        assert left > 0.2  # measured 0.64 and 0.65 nepers


def test_naive_follows_the_loudest_bin_of_the_clip(reference: np.ndarray) -> None:
    """Scaled per clip, the same sound gets other values if a louder one comes after it."""
    loud = reference.copy()
    loud[-8000:] = 10 * np.sin(0.4 * np.arange(8000))
    true, naive = (f(loud, **k) for f, k in ((log_mel, {"normalize": False}), (naive_log_mel, {})))
    quiet = slice(0, 200)  # frames long before the change
    before = log_mel(reference, normalize=False)
    assert (true[quiet] - before[quiet]).abs().max() < 1e-3  # float32
    assert (naive[quiet] - naive_log_mel(reference)[quiet]).abs().mean() > 0.05  # of a range of 1


def test_naive_of_silence_and_of_a_batch() -> None:
    assert not naive_log_mel(torch.zeros(1600)).any()
    with pytest.raises(ValueError, match=r"got shape \[2, 1600\], expected \[N\] \(one clip\)"):
        naive_log_mel(torch.zeros(2, 1600))


# Layouts and checkpoints


def test_check_log_mel_passes_what_is_right() -> None:
    for shape in ((7, 64), (2, 7, 64), (64, 64)):
        x = noise(*shape)
        assert torch.equal(check_log_mel(x), x)
        assert torch.equal(check_log_mel(x.double().numpy()), x)
    assert check_log_mel(noise(5, 80), MelConfig(n_mels=80)).shape == (5, 80)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (64, 500),
            r"got shape \[64, 500\], expected \[T, 64\] .*looks transposed: use .transpose",
        ),
        (
            (2, 64, 500),
            r"got shape \[2, 64, 500\], .*it looks transposed: use .transpose\(-1, -2\)",
        ),
        ((500, 80), r"got shape \[500, 80\], .*compute it with vaerecon.log_mel, which gives 64"),
        (
            (2, 1, 500, 64),
            r"got shape \[2, 1, 500, 64\], .*drop the channel axis with .squeeze\(1\)",
        ),
        ((64,), r"got shape \[64\], expected \[T, 64\] or \[B, T, 64\]"),
        ((0, 64), r"got no frames \(shape \[0, 64\]\), expected at least one"),
    ],
)
def test_check_log_mel_refuses(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_log_mel(torch.zeros(shape))


# of the published vae/config.json and vocoder/config.json of cvssp/audioldm2
VAE = {"in_channels": 1, "out_channels": 1, "latent_channels": 8}
VOCODER = {"model_in_dim": 64, "sampling_rate": 16000, "upsample_rates": [5, 4, 2, 2, 2]}


def test_check_model_configs_accepts_audioldm2() -> None:
    check_model_configs(VAE, SpeechT5HifiGanConfig(**VOCODER))


@pytest.mark.parametrize(
    ("vae", "vocoder", "message"),
    [
        ({}, {"model_in_dim": 80}, "vocoder model_in_dim is 80, expected 64"),
        ({}, {"upsample_rates": [8, 8, 2, 2]}, "upsample_rates is 256, expected 160"),
        ({}, {"sampling_rate": 24000}, "vocoder sampling_rate is 24000, expected 16000"),
        ({"in_channels": 3}, {}, "vae in_channels is 3, expected 1"),
        ({"out_channels": 3}, {}, "vae out_channels is 3, expected 1"),
    ],
)
def test_check_model_configs_names_what_does_not_fit(
    vae: dict, vocoder: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_model_configs(VAE | vae, SpeechT5HifiGanConfig(**(VOCODER | vocoder)))
    assert str(caught.value).count(", expected ") == 1  # and nothing else
    assert "Use a checkpoint of" in str(caught.value)


def test_check_model_configs_names_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"model_in_dim is 80.*sampling_rate is 24000"):
        check_model_configs(
            VAE, SpeechT5HifiGanConfig(**(VOCODER | {"model_in_dim": 80, "sampling_rate": 24000}))
        )


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"n_fft": 2048}, "win_length"), ({"hop_length": 161}, "hop"), ({"hop_length": 2000}, "hop")],
)
def test_settings_that_no_framing_fits_are_refused(settings, name):
    with pytest.raises(ValueError, match=f"{name}.*got .*expected"):
        MelConfig(**settings)
