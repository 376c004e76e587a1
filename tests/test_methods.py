"""The registry: names, choices, and the promise that adding a method is adding a function."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vaerecon.mel import log_mel
from vaerecon.methods import METHODS, get_method, method, select_methods
from vaerecon.samples import normalize_level


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


def test_selection():
    assert select_methods("all") == list(METHODS)
    assert select_methods("griffinlim, vocoder,griffinlim") == ["griffinlim", "vocoder"]
    assert select_methods(["admm"]) == ["admm"]


@pytest.mark.parametrize("bad", ["", [], ","])
def test_no_method_is_refused(bad):
    with pytest.raises(ValueError, match="got none, expected at least one of vocoder"):
        select_methods(bad)


def test_a_typo_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"got 'grifinlim'.*did you mean 'griffinlim'"):
        select_methods("grifinlim")


def test_a_taken_name_is_refused():
    with pytest.raises(ValueError, match="'vocoder', which is registered;"):
        method("vocoder", "again", "again")(lambda *args: None)


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


def test_choosing_methods_does_not_import_torch():
    code = (
        "import sys; from vaerecon.methods import select_methods; select_methods('all');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
