"""The registry: names, choices, and the promise that adding a method is adding a function."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import plain_methods as plain

from vaerecon.audio.clip import load_audio
from vaerecon.audio.samples import normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS, get_method, method, select_methods
from vaerecon.models.fast_vocoder import bundled_network


def test_the_names_of_the_design():
    assert set(METHODS) == {
        "vocoder",
        "fast",
        "griffinlim",
        "hybrid",
        "admm",
        "librosa",
        "silence",
        "oracle_phase",
        "oracle_magnitude",
    }
    reference_only = {n for n, m in METHODS.items() if m.reference_only}
    assert reference_only == {"silence", "oracle_phase", "oracle_magnitude"}


def test_a_method_gets_what_it_needs_in_any_combination(tiny, sound):
    given = {}

    @method("needy", "Needy", "keeps what it was given", needs=("network", "vocoder", "original"))
    def needy(log_mel, n_samples, generator, **needs):
        given.update(needs)
        return torch.zeros(n_samples)

    try:
        tiny.synthesize(log_mel(sound), "needy", original=sound)
    finally:
        del METHODS["needy"]
    assert set(given) == {"network", "vocoder", "original"}
    assert given["vocoder"] is tiny.vocoder


def test_an_unknown_need_is_refused_when_it_is_registered():
    with pytest.raises(ValueError, match=r"needs: got \['netwrok'\], expected names from"):
        method("typo", "Typo", "", needs=("netwrok",))(print)
    assert "typo" not in METHODS


def test_selection():
    assert select_methods("all") == list(METHODS)
    assert select_methods("griffinlim, vocoder,griffinlim") == ["griffinlim", "vocoder"]
    assert select_methods(["admm"]) == ["admm"]


@pytest.mark.parametrize("bad", ["", [], ","])
def test_no_method_is_refused(bad):
    with pytest.raises(ValueError, match="got none, expected at least one of fast"):
        select_methods(bad)


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"got 'grifinlim'.*did you mean 'griffinlim'"):
        select_methods("grifinlim")


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'vocoder', which is registered or reserved;"):
        method("vocoder", "again", "again")(lambda *args: None)


# --- each name is what it says --------------------------------------------------------------------

SHORT = 3900  # samples: rounding grows from step to step, and with the clip


@pytest.fixture(scope="module")
def original() -> torch.Tensor:
    """Speech, since rounding grows most on steady tones."""
    return normalize_level(load_audio(demo_clips()["demo_speech"]).samples[:SHORT])[0]


@pytest.fixture(scope="module")
def mel(original) -> torch.Tensor:
    return log_mel(original, normalize=False)


@pytest.fixture(scope="module")
def made(tiny, mel, original) -> Callable[[str], torch.Tensor]:
    """What a registered method makes of one mel with one seed, float64."""

    @cache
    def make(name: str) -> torch.Tensor:
        return tiny.synthesize(mel, name, SHORT, seeded(), original=original).double()

    return make


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def snr_db(reference: torch.Tensor, estimate: torch.Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


@torch.no_grad()
def plain_vocoder(tiny, log_mel: torch.Tensor) -> torch.Tensor:
    late = F.pad(tiny.vocoder(log_mel[None])[0], (-tiny.lag, 0))
    return F.pad(late, (0, SHORT - len(late))).double()


def plain_griffinlim(tiny, log_mel: torch.Tensor) -> torch.Tensor:
    mel = plain.linear(log_mel)
    guess = plain.towards_mel(mel @ plain.BACK, mel, 5)
    return plain.griffin_lim(guess, mel, plain.sinusoids(guess, seeded()), SHORT, 22)


def plain_admm(tiny, log_mel: torch.Tensor) -> torch.Tensor:
    mel = plain.linear(log_mel)
    guess = plain.towards_mel(mel @ plain.BACK, mel, 10)
    return plain.admm(guess, mel, plain.sinusoids(guess, seeded()), SHORT)


@torch.no_grad()
def plain_fast(tiny, log_mel: torch.Tensor) -> torch.Tensor:
    mel, found = plain.linear(log_mel), bundled_network()(log_mel[None])[0]
    guess = plain.towards_mel(found.double().exp(), mel, 2)
    return plain.griffin_lim(guess, mel, plain.sinusoids(guess, seeded()), SHORT, 16)


def plain_hybrid(tiny, log_mel: torch.Tensor) -> torch.Tensor:
    mel, start = plain.linear(log_mel), plain.spectra_of(plain_vocoder(tiny, log_mel))
    guess = plain.towards_mel(0.1 * (mel @ plain.BACK) + 0.9 * start.abs(), mel, 10)
    return plain.griffin_lim(guess, mel, start, SHORT, 16)


PLAIN = {
    "vocoder": plain_vocoder,
    "fast": plain_fast,
    "griffinlim": plain_griffinlim,
    "hybrid": plain_hybrid,
    "admm": plain_admm,
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_method_is_what_its_plain_form_gives(tiny, mel, made, name):
    """60 dB and more here. What is left is float32, whose rounding grows with every step."""
    assert snr_db(PLAIN[name](tiny, mel), made(name)) > 40


def test_librosa_is_its_mel_to_audio(mel, made, monkeypatch):
    """That takes no seed, so here its random numbers are those of the method's seed."""
    found = made("librosa")
    seed = int(torch.randint(2**31 - 1, (), generator=seeded()))
    generator = np.random.RandomState(seed)
    monkeypatch.setattr(np.random, "default_rng", lambda: generator)
    assert snr_db(plain.librosa_audio(mel, SHORT), found) > 40


def test_silence_is_zeros(made):
    assert not made("silence").any()


def test_the_oracle_phase_has_the_phase_of_the_original_and_the_mel(mel, original, made):
    true = plain.spectra_of(original)

    def share(name: str) -> float:
        """Of the magnitude that has the original's phase."""
        found = plain.spectra_of(made(name))
        return float((found * true.conj()).real.sum() / (found * true).abs().sum())

    assert share("oracle_phase") > 0.9
    assert max(share(name) for name in PLAIN) < 0.5
    found = log_mel(made("oracle_phase").float(), normalize=False)
    assert (found - mel).abs().mean() < 0.2


def test_the_oracle_magnitude_is_plain_griffin_lim_of_the_original(original, made):
    """By its magnitudes: with no mel to hold it, 32 steps make rounding as large as the sound."""
    true = plain.spectra_of(original).abs()

    def convergence_db(samples: torch.Tensor) -> float:
        return -snr_db(true, plain.spectra_of(samples).abs())

    expected = plain.griffin_lim(true, None, plain.sinusoids(true, seeded()), SHORT, 32)
    found = convergence_db(made("oracle_magnitude"))
    assert abs(found - convergence_db(expected)) < 1
    assert found < min(convergence_db(made(name)) for name in PLAIN) - 3


def test_no_two_names_are_one_method(made):
    names = [name for name in METHODS if name != "silence"]
    alike = {(a, b): snr_db(made(a), made(b)) for a in names for b in names if a != b}
    assert max(alike.values()) < 10, alike


# --- what all of them hold ------------------------------------------------------------------------


def test_adding_a_method_is_adding_a_function(tiny, clip):
    @method("noise", "Noise", "white noise, for this test")
    def noise(mel, n_samples, generator):
        return 0.1 * torch.randn(n_samples, generator=generator)

    try:
        result = tiny(clip, ["noise"], exclude_metrics=["visqol"])
        assert list(result.methods) == ["noise", "silence"]
        assert result.audio["noise"].shape == (len(clip.samples),)
    finally:
        del METHODS["noise"]


@pytest.mark.parametrize("name", list(METHODS))
@pytest.mark.parametrize("n_samples", [8000, 7841])
def test_every_method_gives_exactly_n_samples(tiny, clip, name, n_samples):
    x, _ = normalize_level(clip.samples[:n_samples])
    batch = torch.stack([x, x.flip(0)])
    mels = log_mel(batch, normalize=False)
    one = tiny.synthesize(mels[0], name, n_samples, original=x)
    two = tiny.synthesize(mels, name, n_samples, original=batch)
    assert one.shape == (n_samples,)
    assert two.shape == (2, n_samples)
    assert one.dtype == torch.float32
    if get_method(name).reference_only is False:
        assert one.abs().max() > 0.05  # sound, at the front-end's level


@pytest.mark.parametrize("name", ["oracle_phase", "oracle_magnitude"])
def test_ceilings_ask_for_the_original(tiny, clip, name):
    with pytest.raises(ValueError, match=r"original: got None.*ceiling"):
        tiny.synthesize(log_mel(clip.samples), name)


def test_the_original_says_how_long_a_ceiling_is(tiny, mel, original):
    """It may end within the mel's last hop."""
    assert len(mel) * 160 > SHORT
    assert tiny.synthesize(mel, "oracle_magnitude", original=original).shape == (SHORT,)


@pytest.mark.process
def test_choosing_methods_does_not_import_torch():
    code = (
        "import sys; from vaerecon.methods import select_methods; select_methods('all');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
