"""The whole flow, on the bundled model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

import vaerecon as vr
from vaerecon.audio.clip import Clip, load_audio
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline

FAST = ("visqol", "pesq_wb")  # left out where the test is not about metrics


@pytest.fixture(scope="module")
def result(tiny, clip):
    return tiny(clip, ["griffinlim", "vocoder"], exclude_metrics=FAST)


def test_shapes_of_the_flow(tiny, result, sound):
    assert result.mel.shape == (100, 64)
    assert result.latent.shape == (8, 25, 16)
    assert result.mel_decoded.shape == (100, 64)
    assert {n: a.shape for n, a in result.audio.items()} == {
        n: (16000,) for n in ("griffinlim", "vocoder", "silence")
    }
    mel = vr.log_mel(sound)
    assert torch.equal(mel, result.mel)
    torch.testing.assert_close(tiny.decode(tiny.encode(mel)), result.mel_decoded)


def test_it_is_a_diffusers_pipeline_that_saves_and_loads_again(tiny, clip, tmp_path):
    assert isinstance(tiny, DiffusionPipeline)
    assert set(tiny.components) == {"vae", "vocoder"}
    tiny.save_pretrained(tmp_path / "saved")
    again = ReconstructionPipeline.from_pretrained(str(tmp_path / "saved"), device="cpu")
    again.set_progress_bar_config(disable=True)
    mel = vr.log_mel(clip.samples)
    assert torch.equal(again.encode(mel), tiny.encode(mel))
    assert torch.equal(again.synthesize(mel), tiny.synthesize(mel))
    assert again.describe().source == "saved"  # the folder's name, not its path


def test_the_same_seed_gives_the_same_bits_in_any_order(tiny, clip, result):
    other = tiny(clip, ["vocoder", "griffinlim"], exclude_metrics=FAST)
    for name in result.audio:
        assert torch.equal(other.audio[name], result.audio[name])


DRAWN = ("fast", "griffinlim", "admm", "librosa", "oracle_magnitude")  # that begin with a draw


def test_the_seed_is_that_of_every_draw(tiny, sound):
    """With it each method gives what it gives by itself from a generator of that seed."""
    clip = sound[:4000]
    original, level = vr.audio.normalize_level(clip)
    runs = {seed: tiny(clip, DRAWN, seed=seed, exclude_metrics=METRICS) for seed in (0, 3)}
    for seed, run in runs.items():
        for name in DRAWN:
            generator = torch.Generator().manual_seed(seed)
            alone = tiny.synthesize(run.mel_decoded, name, 4000, generator, original)
            assert torch.equal(level.restore(alone), run.audio[name]), (seed, name)
    for name in DRAWN:
        assert not torch.equal(runs[0].audio[name], runs[3].audio[name]), name
    assert runs[3].seed == 3


def test_sampling_the_posterior_differs_from_its_mode_and_repeats(tiny, clip, result):
    draws = [
        tiny(clip, ["silence"], sample=True, seed=s, exclude_metrics=FAST).latent for s in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], result.latent)


def test_the_level_of_the_clip_comes_back(tiny, sound):
    quiet = 2.0**-7  # a power of two scales every sample without rounding, so the bits must agree
    loud, soft = (
        tiny(Clip(np.float32(gain) * sound, 16000, "g"), ["griffinlim"], exclude_metrics=FAST)
        for gain in (1.0, quiet)
    )
    assert torch.equal(loud.audio["griffinlim"] * quiet, soft.audio["griffinlim"])
    assert soft.methods["griffinlim"].gain == loud.methods["griffinlim"].gain * quiet


def test_the_vae_is_heard_by_methods_that_use_the_mel(result):
    with_vae, without = result.methods, result.without_vae
    assert not torch.equal(with_vae["griffinlim"].samples, without["griffinlim"].samples)
    assert with_vae["silence"] is without["silence"]
    # the loss adds up: the mel alone is nearer to the original than the mel through the VAE
    for name in ("griffinlim", "vocoder"):
        assert without[name].scores["log_mel_mae"] < with_vae[name].scores["log_mel_mae"]


def test_the_trap_of_the_original_guide_silence_wins_on_snr(result):
    """A method that invents a phase loses to nothing at all by SNR, though not by the mel."""
    silence, vocoder = result.methods["silence"].scores, result.methods["vocoder"].scores
    assert silence["snr_db"] == pytest.approx(0.0, abs=1e-6)
    assert vocoder["log_mel_mae"] < silence["log_mel_mae"]


def test_table(result):
    table = result.table
    assert list(table.index.names) == ["method", "vae"]
    assert ("silence", True) in table.index
    assert set(METRICS) <= set(table.columns)
    assert table.loc[("vocoder", True), "visqol"] != table.loc[("vocoder", True), "visqol"]  # NaN


@pytest.mark.slow
def test_saved_files_and_analysis(tiny, clip, tmp_path):
    result = tiny(clip, ["vocoder", "oracle_phase"], exclude_metrics=["visqol"])
    files = result.save(tmp_path / "out")
    assert [f.name for f in files] == [
        "chord_analysis.json",
        "chord_oracle_phase_reconstruction.wav",
        "chord_original.wav",
        "chord_spectrograms.png",
        "chord_vocoder_reconstruction.wav",
    ]
    text = (tmp_path / "out" / "chord_analysis.json").read_text()
    assert str(tmp_path) not in text
    analysis = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert set(analysis) == {
        "schema", "clip", "model", "mel", "latent", "methods", "without_vae", "recommendation",
        "versions", "seed",
    }  # fmt: skip
    # the oracle is better, and is no method that can be chosen
    alone = {"method": "vocoder", "basis": "nothing to choose from"}
    assert analysis["recommendation"] == {"speech": alone, "other": alone}
    assert analysis["schema"] == 1
    assert analysis["clip"]["duration_s"] == 1.0
    model = analysis["model"]
    assert model["dtype"] == model["vae_dtype"] == model["vocoder_dtype"] == "float32"
    assert analysis["model"]["vae_parameters"] == sum(p.numel() for p in tiny.vae.parameters())
    assert analysis["latent"] == {
        "shape": [8, 25, 16],
        "values_per_second": 3200.0,
        "ratio_to_samples": 5.0,
        "ratio_to_mel": 2.0,
    }
    entry = analysis["methods"]["vocoder"]
    assert set(entry) == {
        "file", "seconds", "real_time_factor", "lag_samples", "gain", "metrics", "notes",
    }  # fmt: skip
    assert set(entry["metrics"]) == set(METRICS)
    assert entry["lag_samples"] == tiny.lag != 0  # what was taken off
    assert analysis["methods"]["oracle_phase"]["lag_samples"] == 0
    assert entry["metrics"]["visqol"] is None
    assert entry["notes"]["visqol"]
    for group in ("methods", "without_vae"):
        for entry in analysis[group].values():
            for name, value in entry["metrics"].items():
                assert (value is None) == (name in entry["notes"])


def test_the_dtype_of_each_part_is_said(tiny):
    import copy

    pipe = ReconstructionPipeline(tiny.vae, copy.deepcopy(tiny.vocoder).half())
    found = pipe.describe()
    assert (found.vae_dtype, found.vocoder_dtype, found.dtype) == ("float32", "float16", "float16")


def test_saved_sound_is_what_was_compared(tiny, clip, tmp_path):
    result = tiny(clip, ["vocoder"], exclude_metrics=FAST)
    result.save(tmp_path)
    for name, samples in (
        ("chord_original.wav", result.reference),
        ("chord_vocoder_reconstruction.wav", result.audio["vocoder"]),
    ):
        read = load_audio(tmp_path / name).samples
        # the file format's precision, see audio.write_wav
        np.testing.assert_allclose(read, samples.numpy(), atol=1 / 32000)


def test_samples_instead_of_a_clip(tiny, sound):
    result = tiny(torch.from_numpy(sound[:8000]), ["silence"], exclude_metrics=FAST)
    assert result.clip.name == "clip"
    assert result.reference.shape == (8000,)


def test_silence_goes_through(tiny):
    with pytest.warns(UserWarning, match="silent"):
        result = tiny(np.zeros(8000, np.float32), ["griffinlim", "vocoder"])
    assert all(torch.isfinite(a).all() for a in result.audio.values())
    scores = result.methods["griffinlim"].scores
    assert scores["correlation"] is None
    assert "silen" in scores.notes["correlation"]


def test_wrong_layouts_are_refused(tiny, clip):
    mel = vr.log_mel(clip.samples)
    for call in (tiny.encode, tiny.synthesize):
        with pytest.raises(ValueError, match="looks transposed"):
            # [T, 64] -> [64, T]: the mistake that the kit is about
            call(mel.T)


def test_a_model_that_gives_nan_is_named(tiny, clip):
    import copy

    broken = ReconstructionPipeline(tiny.vae, copy.deepcopy(tiny.vocoder))
    with torch.no_grad():
        broken.vocoder.conv_pre.bias[0] = float("nan")
    with pytest.raises(ValueError, match="vocoder: gave NaN"):
        broken.synthesize(vr.log_mel(clip.samples))


def test_components_that_do_not_fit_are_refused(tiny):
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=80,
            upsample_initial_channel=16,
            upsample_rates=[4],
            upsample_kernel_sizes=[8],
        )
    )
    with pytest.raises(ValueError, match="model_in_dim is 80, expected 64"):
        ReconstructionPipeline(tiny.vae, vocoder)


def test_contrast_stretches_the_mel_before_the_method(tiny, sound):
    from vaerecon.mel import damage, log_mel

    mel = log_mel(sound[:8000])
    plain = tiny.synthesize(mel, "griffinlim")
    assert torch.equal(tiny.synthesize(mel, "griffinlim", contrast=1.0), plain)
    raised = tiny.synthesize(mel, "griffinlim", contrast=1.1)
    assert torch.equal(raised, tiny.synthesize(damage.contrast(mel, 1.1 - 1), "griffinlim"))
    assert not torch.equal(raised, plain)
    for wrong in (0, -1.1, 110, float("nan"), "1.1", None):
        with pytest.raises(ValueError, match=r"contrast: got .*, expected a factor above 0"):
            tiny.synthesize(mel, "griffinlim", contrast=wrong)
