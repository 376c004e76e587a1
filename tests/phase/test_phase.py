"""Phase retrieval: exact lengths, alignment, and each method better than what it should beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vaerecon.audio.samples import normalize_level
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel, magnitude_to_log_mel, stft_frames
from vaerecon.mel.stft import istft_frames
from vaerecon.methods import METHODS
from vaerecon.metrics.spectral import log_mel_mae
from vaerecon.phase import mel_inversion, projections, references
from vaerecon.phase import retrieval as phase
from vaerecon.phase.mel_inversion import fit_to_mel
from vaerecon.plots import plot_log_mel

DATA = Path(__file__).parents[1] / "data"
FRAMINGS = ("train", "inference")
LENGTHS = (1, 159, 160, 161, 433, 1000, 16001)
FLOOR = AUDIOLDM_MEL.log_floor


def make_mixture(seconds: float, seed: int = 0) -> torch.Tensor:
    """Two crossing chirps, noise and clicks, ``[N]``, peak 0.5."""
    rng = np.random.default_rng(seed)
    n = round(16000 * seconds)
    t = np.arange(n) / 16000
    up = np.sin(2 * np.pi * (200 * t + 700 * t**2))
    down = np.sin(2 * np.pi * (3000 * t - 500 * t**2))
    clicks = np.zeros(n)
    clicks[rng.integers(0, n, size=5)] = 3.0
    x = up + 0.5 * down + clicks + 0.05 * rng.standard_normal(n)
    return normalize_level(torch.from_numpy(x))[0]


@pytest.fixture(scope="module")
def mixture() -> torch.Tensor:
    return make_mixture(1.0)


@pytest.fixture(scope="module")
def speechlike() -> torch.Tensor:
    """The first second of the reference recording, peak 0.5."""
    samples, rate = soundfile.read(DATA / "reference.wav", dtype="float32")
    assert rate == 16000
    return normalize_level(samples[:16000])[0]


@pytest.fixture(scope="module", params=["mixture", "speechlike"])
def sound(request) -> torch.Tensor:
    return request.getfixturevalue(request.param)


def mel_error(samples: torch.Tensor, target: torch.Tensor, framing: str = "train") -> float:
    """Mean absolute log-mel difference, nepers."""
    return float((log_mel(samples, framing=framing, normalize=False) - target).abs().mean())


def convergence_db(samples: torch.Tensor, magnitude: torch.Tensor) -> float:
    """Spectral convergence against a magnitude, dB: lower is better."""
    error = torch.linalg.norm(stft_frames(samples).abs() - magnitude)
    return float(20 * torch.log10(error / torch.linalg.norm(magnitude)))


def snr_db(reference: torch.Tensor, estimate: torch.Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


# ------------------------------------------------------------------ frames to samples


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("n_samples", LENGTHS)
def test_istft_undoes_stft(n_samples, framing):
    x = 0.5 * torch.randn(2, n_samples, generator=torch.Generator().manual_seed(n_samples))
    spectrum = stft_frames(x, framing=framing)
    back = istft_frames(spectrum, n_samples, framing=framing)
    assert back.shape == x.shape
    assert back.dtype == torch.float32
    # float32 rounding of two FFTs of 1024 values of order 1
    torch.testing.assert_close(back, x, atol=5e-6, rtol=0)
    single = istft_frames(spectrum[1], n_samples, framing=framing)
    torch.testing.assert_close(single, back[1], atol=1e-6, rtol=0)


def test_istft_is_the_least_squares_solution():
    """No other signal's STFT is nearer to an inconsistent spectrum: its gradient is zero there.

    Only samples that the reflection does not touch are compared; those at the ends answer for
    their mirror images too.
    """
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.randn(20, 513, 2, generator=generator)
    spectrum[:, [0, -1], 1] = 0  # a real signal's 0 Hz and 8 kHz are real
    spectrum = torch.view_as_complex(spectrum)
    x = istft_frames(spectrum, 3200).requires_grad_()
    # one-sided spectra hold 511 of 513 bins twice
    weight = torch.full((513,), 2.0)
    weight[[0, -1]] = 1.0
    loss = ((stft_frames(x) - spectrum).abs().square() * weight).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    ends = 1024  # padding 432, and frames that reach into it
    typical = (stft_frames(x).abs() * weight).max()
    # rounding of sums of some thousand float32 values
    assert gradient[ends:-ends].abs().max() < 1e-3 * typical
    assert loss > 1  # the spectrum is none that a sound has


def test_istft_lets_gradients_through_even_after_inference():
    phase.griffin_lim(torch.rand(4, 513), 640)  # fills the caches under inference mode
    spectrum = torch.randn(4, 513, dtype=torch.complex64, requires_grad=True)
    istft_frames(spectrum, 640).square().sum().backward()
    assert torch.isfinite(torch.view_as_real(spectrum.grad)).all()
    assert spectrum.grad[:, 1:-1].abs().min() > 0


# ------------------------------------------------------------------ mel to magnitude


def test_magnitude_has_the_mel(sound):
    target = log_mel(sound, normalize=False)
    errors = [
        float(
            (magnitude_to_log_mel(phase.mel_to_magnitude(target, n_iter=n)) - target).abs().mean()
        )
        for n in (0, 2, 10)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1  # 0.005 on music and speech; steady tones beside silent bins take longer


def test_the_fast_correction_is_the_plain_one():
    """Parts of the spectrum by themselves (CPU) against the matrices that a gradient takes."""
    generator = torch.Generator().manual_seed(0)
    magnitude = torch.rand(2, 7, 513, generator=generator)
    mel = torch.rand(2, 7, 64, generator=generator)
    learned = magnitude.clone().requires_grad_()
    plain = mel_inversion.correction(learned, mel, AUDIOLDM_MEL).detach()
    assert not torch.equal(mel_inversion.correction(magnitude, mel, AUDIOLDM_MEL), plain)
    with torch.inference_mode():
        fast = mel_inversion.correction(magnitude, mel, AUDIOLDM_MEL)
        # and frames that do not lie one behind the other in memory
        apart = mel_inversion.correction(magnitude[:, ::2], mel[:, ::2], AUDIOLDM_MEL)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(apart, plain[:, ::2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("first", "step"), [(0, 1), (0, 2), (1, 2)])
def test_a_comb_puts_back_what_it_cuts(first, step):
    """Analysis and synthesis of every frame, or every second, give the same sound again."""
    magnitude = torch.rand(1, 23, 513)
    onto = projections.Projection(magnitude, None, AUDIOLDM_MEL)
    subset = onto.every_nth_frame(first, step)
    signal = torch.randn(1, onto.length, generator=torch.Generator().manual_seed(0))
    found = onto.synthesize(lambda frames: onto.analyze(signal, frames, subset), subset)
    # the outermost samples are divided by almost nothing
    known = slice(subset.ends[0].stop + 5, subset.ends[1].start - 5)
    assert known.stop - known.start > 0.8 * 23 * 160
    torch.testing.assert_close(found[:, known], signal[:, known], atol=1e-3, rtol=0)


def test_every_second_frame_then_the_others_gets_further(sound, monkeypatch):
    """For the same arithmetic, against all frames at once at their own best momentum."""
    magnitude, n = stft_frames(sound).abs(), len(sound)
    halves = convergence_db(phase.griffin_lim(magnitude, n, n_iter=4), magnitude)
    monkeypatch.setattr(phase, "COMBS", 1)
    whole = phase.griffin_lim(magnitude, n, n_iter=4, momentum=0.99)
    assert halves < convergence_db(whole, magnitude) - 1


def test_magnitude_of_the_floor_is_zero():
    mel = torch.full((2, 5, 64), FLOOR)
    mel[1, 2, 30] = -2.0
    magnitude = phase.mel_to_magnitude(mel)
    assert magnitude.shape == (2, 5, 513)
    assert (magnitude >= 0).all()
    assert not magnitude[0].any()
    assert not magnitude[1, [0, 1, 3, 4]].any()
    assert magnitude[1, 2].any()
    loud = phase.mel_to_magnitude(torch.zeros(3, 64))
    assert not loud[:, [0, -1]].any()  # no filter sees 0 Hz and 8 kHz
    assert (loud[:, 1:-1] > 0).all()


def test_start_gives_the_magnitude_its_detail(sound):
    target, true = log_mel(sound, normalize=False), stft_frames(sound).abs()
    smooth = phase.mel_to_magnitude(target)
    detailed = phase.mel_to_magnitude(target, start=true)
    assert torch.linalg.norm(detailed - true) < 0.5 * torch.linalg.norm(smooth - true)
    from_nothing = phase.mel_to_magnitude(target, start=torch.zeros_like(true))
    torch.testing.assert_close(from_nothing, smooth, rtol=1e-3, atol=1e-4)  # only a scale apart


def test_a_magnitude_is_held_to_a_mel_of_its_own_frames_only():
    with pytest.raises(ValueError, match=r"log-mel: got shape \[9, 64\].*\[10, 64\]"):
        fit_to_mel(torch.rand(10, 513), torch.zeros(9, 64))
    with pytest.raises(ValueError, match=r"log-mel: got shape \[1, 10, 64\].*\[2, 10, 64\]"):
        fit_to_mel(torch.rand(2, 10, 513), torch.zeros(1, 10, 64))


# ------------------------------------------------------------------ lengths, batches, layouts


def run_all(mel: torch.Tensor, original: torch.Tensor, framing: str) -> dict[str, torch.Tensor]:
    """Every method of the module with few iterations."""
    n_samples, settings = original.shape[-1], {"n_iter": 2, "framing": framing}
    magnitude = phase.mel_to_magnitude(mel)
    return {
        "griffin_lim": phase.griffin_lim(magnitude, n_samples, **settings),
        "griffin_lim, mel": phase.griffin_lim(magnitude, n_samples, log_mel=mel, **settings),
        "admm": phase.admm(magnitude, n_samples, **settings),
        "admm, mel": phase.admm(magnitude, n_samples, log_mel=mel, **settings),
        "librosa": references.librosa_mel_to_audio(mel, n_samples, **settings),
        "refine": phase.refine(original, mel, **settings),
        "oracle_phase": references.oracle_phase(mel, original, framing=framing),
        "oracle_magnitude": references.oracle_magnitude(original, **settings),
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("n_samples", LENGTHS[:-1])
def test_exact_lengths(n_samples, framing):
    """Also one-frame clips, and those shorter than a window."""
    x = make_mixture(1.0)[4000 : 4000 + n_samples]
    mel = log_mel(x, framing=framing, normalize=False)
    for name, y in run_all(mel, x, framing).items():
        assert y.shape == (n_samples,), name
        assert y.dtype == torch.float32, name
        assert torch.isfinite(y).all(), name
        assert y.any(), name


@pytest.mark.parametrize("framing", FRAMINGS)
def test_batch_equals_singles(framing):
    batch = torch.stack([make_mixture(0.25, seed) for seed in (1, 2, 3)])
    mels = log_mel(batch, framing=framing, normalize=False)
    together = run_all(mels, batch, framing)
    del together["librosa"]  # each clip draws its own phase; see below
    for i in range(3):
        alone = run_all(mels[i], batch[i], framing)
        for name, y in together.items():
            assert y.shape == batch.shape, name
            # products of other shapes round differently; peaks are 0.5
            torch.testing.assert_close(y[i], alone[name], atol=1e-4, rtol=0, msg=name)


def test_librosa_batch_has_the_items_in_order():
    batch = torch.stack([make_mixture(0.2, 1), 0.01 * make_mixture(0.2, 2)])
    y = references.librosa_mel_to_audio(log_mel(batch, normalize=False), 3200, n_iter=2)
    assert y.shape == (2, 3200)
    assert y[0].std() > 20 * y[1].std()


def test_blocks_change_nothing(mixture, monkeypatch):
    """The frames are worked through in blocks; where they are cut must not be heard."""
    mel = log_mel(mixture, normalize=False)

    def sounds() -> list[torch.Tensor]:
        magnitude = phase.mel_to_magnitude(mel)
        methods = (phase.griffin_lim, phase.admm)
        return [f(magnitude, len(mixture), log_mel=mel, n_iter=4) for f in methods]

    monkeypatch.setattr(projections, "BLOCK", 1000)
    whole = sounds()
    monkeypatch.setattr(projections, "BLOCK", 7)
    for a, b in zip(whole, sounds(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)  # as for batches


def test_accepts_numpy(mixture):
    mel = log_mel(mixture, normalize=False).numpy()
    y = phase.refine(mixture.numpy(), mel, n_iter=1)
    assert isinstance(y, torch.Tensor)
    assert y.shape == mixture.shape


def test_transposed_mel_is_refused():
    wrong = torch.zeros(64, 100)
    calls = (
        lambda: phase.mel_to_magnitude(wrong),
        lambda: references.librosa_mel_to_audio(wrong, 16000),
        lambda: phase.refine(torch.zeros(16000), wrong),
        lambda: references.oracle_phase(wrong, torch.zeros(16000)),
        lambda: phase.griffin_lim(torch.zeros(100, 513), 16000, log_mel=wrong),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"got shape \[64, 100\].*transpose"):
            call()


def test_wrong_shapes_are_refused():
    magnitude = torch.rand(10, 513)
    with pytest.raises(ValueError, match=r"got shape \[513, 10\], expected \[T, 513\]"):
        phase.griffin_lim(magnitude.T, 1600)
    with pytest.raises(ValueError, match=r"start: got shape \[9, 513\], expected \[10, 513\]"):
        phase.mel_to_magnitude(torch.zeros(10, 64), start=magnitude[:9])
    with pytest.raises(ValueError, match="got complex values"):
        phase.griffin_lim(magnitude.to(torch.complex64), 1600)
    with pytest.raises(ValueError, match="init: got 1599 samples, expected 1600"):
        phase.griffin_lim(magnitude, 1600, init=torch.zeros(1599))
    with pytest.raises(ValueError, match=r"init: got a spectrum of shape \[9, 513\]"):
        phase.admm(magnitude, 1600, init=torch.zeros(9, 513, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"got shape \[9, 64\].*\[10, 64\]"):
        phase.griffin_lim(magnitude, 1600, log_mel=torch.zeros(9, 64))
    with pytest.raises(ValueError, match="framing: got 'centre'"):
        phase.griffin_lim(magnitude, 1600, framing="centre")


@pytest.mark.parametrize(
    ("framing", "low", "high"), [("train", 1441, 1600), ("inference", 1281, 1440)]
)
def test_length_must_fit_the_frames(framing, low, high):
    mel, magnitude = torch.zeros(10, 64), torch.rand(10, 513)
    calls = {
        "griffin_lim": lambda n: phase.griffin_lim(magnitude, n, n_iter=0, framing=framing),
        "istft": lambda n: istft_frames(magnitude + 0j, n, framing=framing),
        "librosa": lambda n: references.librosa_mel_to_audio(mel, n, n_iter=1, framing=framing),
        "refine": lambda n: phase.refine(torch.zeros(n), mel, n_iter=0, framing=framing),
    }
    for name, call in calls.items():
        for n in (low, high):
            assert len(call(n)) == n, name
        for n in (low - 1, high + 1):
            with pytest.raises(ValueError, match=f"n_samples: got {n},.* {low} to {high}"):
                call(n)


# ------------------------------------------------------------------ quality, by direction


def test_more_iterations_converge(sound):
    magnitude, n = stft_frames(sound).abs(), len(sound)
    for method in (phase.griffin_lim, phase.admm):
        scores = [convergence_db(method(magnitude, n, n_iter=k), magnitude) for k in (0, 1, 16)]
        assert scores[0] > scores[1] > scores[2]
        assert scores[2] < -15  # the true phase would give minus infinity, random phase about -5


def test_momentum_pays_when_held_to_the_mel(sound):
    mel = log_mel(sound, normalize=False)
    magnitude, n = phase.mel_to_magnitude(mel), len(sound)

    def error(momentum: float) -> float:
        """The mean over some starts: one alone may be lucky."""
        settings = {"log_mel": mel, "n_iter": 16, "momentum": momentum}
        starts = [torch.Generator().manual_seed(seed) for seed in range(6)]
        sounds = [phase.griffin_lim(magnitude, n, generator=g, **settings) for g in starts]
        return sum(mel_error(y, mel) for y in sounds) / len(sounds)

    assert error(0.95) < error(0.0)


def test_the_start_pays(sound):
    magnitude, n = stft_frames(sound).abs(), len(sound)

    def score(**settings) -> float:
        return convergence_db(phase.griffin_lim(magnitude, n, n_iter=1, **settings), magnitude)

    generator = torch.Generator().manual_seed(0)
    random = torch.polar(magnitude, 6.28 * torch.rand(magnitude.shape, generator=generator))
    assert score() < score(init=random)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.slow
def test_ranks_of_the_methods(sound, framing):
    mel = log_mel(sound, framing=framing, normalize=False)
    magnitude, n = phase.mel_to_magnitude(mel), len(sound)
    by_magnitude = phase.griffin_lim(magnitude, n, framing=framing)
    by_mel = phase.griffin_lim(magnitude, n, log_mel=mel, framing=framing)
    librosa = references.librosa_mel_to_audio(mel, n, framing=framing)
    errors = [mel_error(y, mel, framing) for y in (by_mel, by_magnitude, librosa)]
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.3  # 0.05 on music and speech; here half the bins lie 60 dB under a tone
    alternating = phase.admm(magnitude, n, log_mel=mel, framing=framing)
    assert mel_error(alternating, mel, framing) < errors[1]


def test_what_sees_the_original_is_above_griffin_lim(sound):
    mel = log_mel(sound, normalize=False)
    found = phase.griffin_lim(phase.mel_to_magnitude(mel), len(sound), log_mel=mel)
    with_phase = references.oracle_phase(mel, sound)
    with_magnitude = references.oracle_magnitude(sound)
    assert snr_db(sound, with_phase) > 25
    assert snr_db(sound, found) < 3  # a phase that was guessed is no better than silence, about
    true = stft_frames(sound).abs()
    assert convergence_db(with_magnitude, true) < convergence_db(found, true) - 6


def test_refine_beats_what_it_was_given(sound):
    """A waveform with a good phase and a poor magnitude, as vocoders make them."""
    generator = torch.Generator().manual_seed(0)
    spectrum = stft_frames(sound)
    wrong = (0.4 * torch.randn(spectrum.shape, generator=generator)).exp()
    turned = torch.randn(spectrum.shape, generator=generator)
    given = istft_frames(spectrum * torch.polar(wrong, turned), len(sound))
    mel = log_mel(sound, normalize=False)
    refined = phase.refine(given, mel)
    scratch = phase.griffin_lim(phase.mel_to_magnitude(mel), len(sound), log_mel=mel, n_iter=16)
    assert mel_error(refined, mel) < 0.5 * mel_error(given, mel)
    assert mel_error(refined, mel) < mel_error(scratch, mel)
    assert snr_db(sound, refined) > snr_db(sound, scratch)
    # it keeps the detail of the magnitude it was given, not only the phase
    smooth = phase.mel_to_magnitude(mel)
    by_phase = phase.griffin_lim(smooth, len(sound), log_mel=mel, n_iter=16, init=given)
    true = spectrum.abs()
    assert convergence_db(refined, true) < convergence_db(by_phase, true) - 1


def test_refine_fills_in_what_is_missing(mixture):
    mel = log_mel(mixture, normalize=False)
    holes = mixture.clone()
    holes[4000:9000] = 0
    for given in (holes, torch.zeros_like(mixture)):
        assert mel_error(phase.refine(given, mel, n_iter=32), mel) < 0.3  # 0.05 where nothing lacks


# ------------------------------------------------------------------ start and randomness


def test_init_by_samples_and_by_spectrum(mixture):
    spectrum = stft_frames(mixture)
    magnitude, n = spectrum.abs(), len(mixture)
    for init in (mixture, spectrum, 3 * spectrum):
        kept = phase.griffin_lim(magnitude, n, n_iter=4, init=init)
        # the true phase is a fixed point; rounding, and the free edges of the padded signal
        assert snr_db(mixture, kept) > 60
    before = spectrum.clone()
    phase.admm(magnitude, n, n_iter=1, init=spectrum)
    assert torch.equal(spectrum, before)  # nothing that was passed in is changed


def test_generator_decides(mixture):
    mel = log_mel(mixture, normalize=False)[:30]
    magnitude = phase.mel_to_magnitude(mel)
    calls = (
        lambda g: phase.griffin_lim(magnitude, 4800, n_iter=1, generator=g),
        lambda g: phase.admm(magnitude, 4800, n_iter=1, generator=g),
        lambda g: references.librosa_mel_to_audio(mel, 4800, n_iter=1, generator=g),
        lambda g: references.oracle_magnitude(mixture, n_iter=1, generator=g),
    )
    for call in calls:
        a, b, c = (call(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        assert torch.equal(call(None), call(None))
        torch.rand(1)  # and the global generator has no say
        assert torch.equal(call(None), call(torch.Generator().manual_seed(0)))


# ------------------------------------------------------------------ time and silence


def envelope_lag(reference: torch.Tensor, estimate: torch.Tensor) -> int:
    """Samples by which the envelope (1.25 ms mean of squares) of ``estimate`` is late."""
    envelopes = []
    for x in (reference, estimate):
        smooth = np.convolve(x.numpy() ** 2, np.ones(21), mode="same")
        envelopes.append(smooth - smooth.mean())
    lags = np.correlate(envelopes[1], envelopes[0], mode="full")
    return int(lags.argmax()) - (len(reference) - 1)


@pytest.fixture(scope="module")
def bursts() -> torch.Tensor:
    """Decaying noise bursts at places that fit no frame grid, peak 0.5."""
    rng = np.random.default_rng(0)
    x = np.zeros(12000)
    for start in (1033, 3201, 5077, 8111, 9990):
        n = min(1500, len(x) - start)
        x[start : start + n] += rng.standard_normal(n) * np.exp(-np.arange(n) / 150)
    return normalize_level(x)[0]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_nothing_is_early_or_late(bursts, framing):
    mel = log_mel(bursts, framing=framing, normalize=False)
    magnitude, n = phase.mel_to_magnitude(mel), len(bursts)
    oracle = references.oracle_phase(mel, bursts, framing=framing)
    correlation = np.correlate(oracle.numpy(), bursts.numpy(), mode="full")
    assert correlation.argmax() == n - 1  # sample for sample
    # without the original's phase, time is known to a fraction of the 160 samples between frames;
    # a forgotten half hop would show as 80
    for found in (
        phase.griffin_lim(magnitude, n, log_mel=mel, framing=framing),
        phase.admm(magnitude, n, framing=framing),
        references.librosa_mel_to_audio(mel, n, framing=framing),
    ):
        assert abs(envelope_lag(bursts, found)) < 40


@pytest.mark.parametrize("framing", FRAMINGS)
def test_silence_stays_silent(framing):
    silence = torch.zeros(3200)
    mel = torch.full((AUDIOLDM_MEL.n_frames(3200, framing), 64), FLOOR)
    for name, y in run_all(mel, silence, framing).items():
        assert torch.isfinite(y).all(), name
        # exact zeros but for librosa, which gets the floor as it is: about -90 dB
        assert y.abs().max() <= (1e-4 if name == "librosa" else 0), name


def test_silence_beside_sound(mixture):
    """Half a clip of silence does not hum, and the sound beside it is not hurt."""
    x = torch.cat([mixture, torch.zeros(8000)])
    mel = log_mel(x, normalize=False)
    y = phase.griffin_lim(phase.mel_to_magnitude(mel), len(x), log_mel=mel)
    assert torch.isfinite(y).all()
    assert y[-6000:].abs().max() < 1e-4  # a window after the end: -80 dB
    assert mel_error(y, mel) < 0.1


# --- other settings, and several mels -------------------------------------------------------------


def settings(n_fft: int = 1024, **others) -> MelConfig:
    return MelConfig(n_fft=n_fft, win_length=n_fft, **others)


SETTINGS = [
    settings(768),
    settings(512, n_mels=80),
    settings(255, hop_length=81, n_mels=20),
    settings(256, hop_length=80, n_mels=128),  # some of these filters are empty
    settings(4096, hop_length=640, n_mels=128),
    settings(hop_length=512),
    settings(hop_length=1020),
    settings(16, hop_length=4, n_mels=4),
    settings(fmin=125.0, fmax=4000.0),
    settings(floor=1e-2),
    settings(n_mels=1),
]


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("config", SETTINGS, ids=lambda c: f"{c.n_fft}-{c.hop_length}-{c.n_mels}")
def test_a_mel_of_any_setting_goes_all_the_way(mixture, config):
    """By its own mel the sound is far nearer than silence, with every method that takes any."""
    x = mixture[:8001]
    mel = log_mel(x, config, normalize=False)
    assert mel.shape == (config.n_frames(8001), config.n_mels)
    far = log_mel_mae(x, torch.zeros_like(x), config)
    for name in ("griffinlim", "admm"):
        y = METHODS[name].function(mel, 8001, torch.Generator().manual_seed(0), config=config)
        assert y.shape == x.shape
        assert float(y.abs().max()) < 5  # no division by a window that is almost 0
        assert log_mel_mae(x, y, config) < 0.25 * far, name
    (image,) = plot_log_mel(mel, config=config)[1].images
    assert image.get_extent()[1] == pytest.approx(len(mel) * config.hop_length / 16000)


def test_half_the_frames_are_enough_only_where_they_overlap_by_half(mixture):
    """Else a short window would look worse than it is."""
    for n_fft, count in ((1024, 2), (768, 2), (640, 1), (512, 1)):
        config = settings(n_fft)
        onto = projections.Projection(torch.ones(1, 20, n_fft // 2 + 1), None, config)
        assert len(phase._combs(onto)) == count


def test_several_mels_hold_the_sound_in_turn(speechlike):
    """A short and a long window beside AudioLDM2's: the sound comes nearer to all three mels."""
    configs = [settings(256, hop_length=80, n_mels=32), AUDIOLDM_MEL,
               settings(4096, hop_length=640, n_mels=128)]  # fmt: skip
    x = speechlike[:15001]
    mels = [log_mel(x, config, normalize=False) for config in configs]
    first = phase.mel_to_magnitude(mels[0], configs[0])
    options = {"log_mel": mels[0], "config": configs[0], "n_iter": 22}
    alone = phase.griffin_lim(first, len(x), **options)
    also = list(zip(mels[1:], configs[1:], strict=True))
    together = phase.griffin_lim(first, len(x), also=also, **options)
    assert together.shape == x.shape
    for config in configs[1:]:
        assert log_mel_mae(x, together, config) < 0.7 * log_mel_mae(x, alone, config)
    assert log_mel_mae(x, together, configs[0]) < 2 * log_mel_mae(x, alone, configs[0])
    assert log_mel_mae(x, together) < log_mel_mae(x, torch.zeros_like(x)) / 10


def test_several_mels_of_a_batch_are_those_of_each_clip(mixture):
    x = torch.stack([mixture[:4000], mixture[4000:8000]])
    config = settings(256, hop_length=80, n_mels=32)
    mels, others = log_mel(x, config), log_mel(x)
    options = {"config": config, "n_iter": 3}
    magnitude = phase.mel_to_magnitude(mels, config)
    both = phase.griffin_lim(
        magnitude, 4000, log_mel=mels, also=[(others, AUDIOLDM_MEL)], **options
    )
    one = phase.griffin_lim(
        magnitude[1], 4000, log_mel=mels[1], also=[(others[1], AUDIOLDM_MEL)], **options
    )
    assert torch.equal(both[1], one)
    with pytest.raises(ValueError, match="expected one a clip, 2"):
        phase.griffin_lim(magnitude, 4000, also=[(others[0], AUDIOLDM_MEL)], **options)
    with pytest.raises(ValueError, match="n_samples: got 4000"):
        phase.griffin_lim(magnitude[0], 4000, also=[(others[0, 1:], AUDIOLDM_MEL)], **options)


def test_a_floor_that_has_no_logarithm_is_refused():
    for floor in (0.0, -1e-5, float("nan")):
        with pytest.raises(ValueError, match=r"floor: got .*, expected a magnitude above 0"):
            MelConfig(floor=floor)
