"""Notebook 03's tools: shapes, wrong inputs, geometry and the check of an input."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch

from vaerecon import metrics
from vaerecon.audio.samples import normalize_level
from vaerecon.lab.nb03_vocoder_fix import faults as fix
from vaerecon.lab.nb03_vocoder_fix import plots
from vaerecon.lab.nb03_vocoder_fix import solutions as solutions_03
from vaerecon.lab.nb03_vocoder_fix.faults import check_vocoder_input, loop_error
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.filters import mel_filters
from vaerecon.mel.front_end import log_mel, stft_frames
from vaerecon.models.vocoder import measure_lag, n_samples_out, vocode

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_vocoder_dimension_fix.ipynb"


@pytest.fixture(scope="module")
def samples(sound) -> torch.Tensor:
    """Half a second at peak 0.5."""
    return normalize_level(sound[:8000])[0]


@pytest.fixture(scope="module")
def mel(samples) -> torch.Tensor:
    return log_mel(samples, normalize=False)


@pytest.fixture
def random_vocoder():
    return fix.random_vocoder(torch.Generator().manual_seed(0))


# --- models without weights, models without training ---


def test_empty_vocoder_is_audioldm2s():
    model = fix.empty_vocoder()
    assert sum(p.numel() for p in model.parameters()) == 55_264_897  # the checkpoint's
    assert all(p.is_meta for p in model.parameters())
    assert n_samples_out(model, 10) == 1632


def test_random_vocoder_is_its_generators(random_vocoder):
    state = torch.random.get_rng_state()
    again = fix.random_vocoder(torch.Generator().manual_seed(0))
    other = fix.random_vocoder(torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [m.upsampler[0].weight for m in (random_vocoder, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    sound = vocode(random_vocoder, torch.full((9, 64), -4.0))
    assert torch.isfinite(sound).all()
    assert 1e-4 < sound.std() < 0.9  # neither mute nor at the ends of the tanh


def test_symmetric_vocoder_has_only_the_lag_of_its_geometry():
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        assert measure_lag(fix.random_vocoder(generator, symmetric=True)) == 16
        exact = fix.random_vocoder(
            generator, symmetric=True, upsample_kernel_sizes=fix.EXACT_KERNELS
        )
        assert measure_lag(exact) == 0
        assert n_samples_out(exact, 7) == 1120


# --- shapes ---


def test_the_share_on_the_grid_is_that_of_its_frequencies():
    t = torch.arange(16000) / 16000
    on, between = (torch.sin(2 * torch.pi * hz * t) for hz in (400, 430))
    assert fix.share_on_grid(on) > 0.999
    assert fix.share_on_grid(between) < 0.001
    assert fix.share_on_grid(on + between) == pytest.approx(0.5, abs=0.001)


def test_a_mel_that_does_not_change_gives_multiples_of_100_hz_only(random_vocoder):
    """Whatever the weights: why a convolutional vocoder buzzes on a steady tone."""
    still = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).expand(250, 64) - 4
    middle = vocode(random_vocoder, still)[12000:28000]
    torch.testing.assert_close(middle[160:], middle[:-160], atol=1e-5, rtol=0)
    assert fix.share_on_grid(middle - middle.mean()) > 0.999


def test_square_blocks():
    mel = torch.randn(150, 64, generator=torch.Generator().manual_seed(0))
    blocks = fix.square_blocks(mel)
    assert blocks.shape == (3, 64, 64)
    assert torch.equal(blocks.flatten(0, 1)[:150], mel)
    assert (blocks.flatten(0, 1)[150:] == AUDIOLDM_MEL.log_floor).all()
    assert fix.square_blocks(mel[:64]).shape == (1, 64, 64)


# --- scales ---


def scaled(mel) -> dict[str, torch.Tensor]:
    return {name: change(mel) for name, change in fix.SCALES.items()}


def test_every_wrong_scale_is_further_from_the_original(tiny, samples, mel):
    """The lesson of section 6, on the model that the notebook uses."""
    mels = scaled(mel)
    sounds = {n: vocode(tiny.vocoder, x, len(samples), tiny.lag) for n, x in mels.items()}
    error = fix.sound_scores(samples, sounds)["log-mel error (nepers)"]
    assert error.idxmin() == "ln magnitude"


def test_loop_error_finds_impossible_mels(tiny, samples, mel):
    mels = scaled(mel)
    right = loop_error(tiny.vocoder, mel, tiny.lag)
    # what went in is the original's mel, so the loop error is the sound's log-mel error
    sound = vocode(tiny.vocoder, mel, len(samples), tiny.lag)
    assert right == pytest.approx(metrics.log_mel_mae(samples, sound), rel=0.01)  # the mean's DC
    for name in ("dB", "dB as 0..1"):
        assert loop_error(tiny.vocoder, mels[name], tiny.lag) > 1.2 * right


def test_transposed_squares_are_accepted_and_worse(tiny, samples):
    right = fix.feed(tiny.vocoder, samples, lag=tiny.lag)
    wrong = fix.feed(tiny.vocoder, samples, layout=fix.LAYOUTS[2], lag=tiny.lag)
    assert right.error == wrong.error == ""
    assert right.samples.shape == wrong.samples.shape == samples.shape
    table = fix.sound_scores(samples, {"right": right.samples, "wrong": wrong.samples})
    error = table["log-mel error (nepers)"]
    assert error["right"] < error["wrong"]


# --- time ---


@pytest.mark.parametrize("kernels", [[16, 16, 8, 4, 4], [15, 16, 8, 4, 4], [16, 15, 7, 4, 5]])
def test_length_table_is_what_the_model_gives(kernels):
    rates, n_frames = [5, 4, 2, 2, 2], 6
    model = fix.random_vocoder(
        torch.Generator().manual_seed(0), symmetric=True, upsample_kernel_sizes=kernels
    )
    table = fix.length_table(rates, kernels, n_frames)
    made = vocode_raw_length(model, n_frames)
    assert table["out"].iloc[-1] == made
    assert table["too many (samples)"].sum() == made - 160 * n_frames
    # the response of random symmetric kernels is measured to within a sample
    assert table["late (samples)"].sum() == pytest.approx(measure_lag(model), abs=1)


def vocode_raw_length(model, n_frames: int) -> int:
    with torch.no_grad():
        return model(torch.full((1, n_frames, 64), -5.0)).shape[-1]


def test_sound_scores_of_a_perfect_copy(samples):
    table = fix.sound_scores(samples, {"copy": samples, "silence": torch.zeros_like(samples)})
    assert math.isnan(table.loc["copy", "SNR (dB)"])  # infinite, so it has no place in a table
    assert table.loc["copy", "log-mel error (nepers)"] == 0
    assert table.loc["silence", "SNR (dB)"] == 0


# --- the check of an input ---


def wrong_items(x, vocoder, n_samples=None) -> list[str]:
    table = check_vocoder_input(x, vocoder, n_samples)
    return list(table.index[table["result"] == "wrong"])


def test_a_right_input_passes(tiny, samples, mel):
    table = check_vocoder_input(mel, tiny.vocoder, len(samples))
    assert set(table["result"]) == {"ok"}
    assert set(table["fix"]) == {""}
    assert wrong_items(mel[None], tiny.vocoder, len(samples)) == []
    silence = torch.full((50, 64), AUDIOLDM_MEL.log_floor)
    assert wrong_items(silence, tiny.vocoder) == []


def test_wrong_inputs_are_named(tiny, samples, mel):
    vocoder, mels = tiny.vocoder, scaled(mel)
    assert wrong_items(mel.T, vocoder) == ["layout"]
    assert wrong_items(mel.double(), vocoder) == ["dtype"]
    for wrong in (
        mel.log(),
        mels["dB"],
        mels["dB as 0..1"],
        mel + 5,
        (mel - mel.mean()) / mel.std(),
    ):
        assert wrong_items(wrong, vocoder, len(samples)) == ["scale"]
    assert check_vocoder_input(mels["dB"], vocoder).loc["scale", "found"] == "dB"
    assert wrong_items(torch.cat([mel, mel[:1]]), vocoder, len(samples)) == ["frames"]


def test_what_cannot_be_told_is_called_so(tiny, random_vocoder, samples, mel):
    square = torch.cat([mel, mel])[:64]
    assert check_vocoder_input(square, tiny.vocoder).loc["layout", "result"] == "unknown"
    assert check_vocoder_input(mel, random_vocoder).loc["samples out", "result"] == "to cut"
    assert wrong_items(scaled(mel)["log10 magnitude"], tiny.vocoder) == []


# --- feeding ---


def test_feed_returns_the_models_own_error(tiny, samples):
    attempt = fix.feed(tiny.vocoder, samples, layout=fix.LAYOUTS[1])
    assert attempt.samples is None
    assert "expected input[1, 50, 64] to have 64 channels" in attempt.error
    assert attempt.shape == [1, 64, 50]
    assert "type" in fix.feed(tiny.vocoder, samples, dtype="float64").error


def test_feed_is_vocode_when_right(random_vocoder, samples, mel):
    attempt = fix.feed(random_vocoder, samples, lag=16)
    expected = vocode(random_vocoder, mel, len(samples), lag=16)
    torch.testing.assert_close(attempt.samples, expected, rtol=0, atol=0)


def test_feed_refuses_unknown_names(tiny, samples):
    with pytest.raises(ValueError, match="layout: got 'x'"):
        fix.feed(tiny.vocoder, samples, layout="x")
    with pytest.raises(ValueError, match="scale: got 'x'"):
        fix.feed(tiny.vocoder, samples, scale="x")


# --- pictures and the explorer ---


def test_plots_draw(tiny, samples, mel):
    _, axes = plots.plot_mels({"a": mel, "b": mel - 1})
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim()
    _, axes = plots.plot_upsampling([(5, 16), (5, 15)])
    assert "late" in axes[0].get_title()
    assert "on time" in axes[1].get_title()
    _, axes = plots.plot_attempt(samples, fix.feed(tiny.vocoder, samples, fix.LAYOUTS[1]))
    assert "expected input[1, 50, 64]" in axes[1].texts[0].get_text()


@pytest.mark.slow
def test_explorer_shows_errors_in_place(tiny, samples):
    box = plots.explorer_faults(tiny.vocoder, samples, lag=tiny.lag)
    controls, _, answer, picture, sound = box.children
    layout, scale, dtype, listen = controls.children
    assert "accepted" in answer.value
    first = picture.value
    listen.click()
    assert sound.children[0].labels == ["original", "vocoder"]
    layout.value = fix.LAYOUTS[1]
    assert "64 channels" in answer.value
    assert sound.children[0].labels == ["original"]  # the sound goes with the picture
    assert picture.value != first
    layout.value, scale.value = fix.LAYOUTS[0], "dB as 0..1"
    assert "accepted" in answer.value
    dtype.value = "float16"
    assert "type" in answer.value


# --- exercises ---


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("to_btm", lambda x, layout: x.reshape(2, 5, 64), "use permute"),
        ("to_btm", lambda x, layout: x if x.shape[-1] == 64 else x.mT, "batch of one"),
        ("extra_samples", lambda rates, kernels: 32, "HiFi|8, 8, 2, 2"),
        ("best_affine", lambda wrong, right: (9.0, -10.0, 0.8), "least-squares"),
        ("best_affine", lambda wrong, right: 1 / 0, "stopped with a ZeroDivisionError"),
    ],
)
def test_wrong_answers_get_a_hint(name, answer, hint):
    answers = {other: lambda *_: None for other in solutions_03.CHECKS} | {name: answer}
    text = solutions_03.check_exercises(**answers)
    line = next(line for line in text.splitlines() if name in line)
    assert "not yet" in line
    assert any(part in line for part in hint.split("|"))


def test_extra_samples_is_the_models_own():
    for kernels in ([16, 16, 8, 4, 4], [16, 15, 7, 4, 5]):
        model = fix.empty_vocoder(upsample_kernel_sizes=kernels)
        extra = solutions_03.extra_samples(model.config.upsample_rates, kernels)
        assert n_samples_out(model, 9) == 160 * 9 + extra


def test_no_line_saves_a_power_mel(samples, mel):
    """Why exercise 3 leaves a rest: bins are summed before the logarithm."""
    power = (stft_frames(samples).abs().square() @ mel_filters()).clamp_min(1e-10).log()
    a, _, rest = solutions_03.best_affine(power, mel)
    assert 0.3 < a < 0.7  # power is twice the logarithm
    assert rest > 0.05


# --- the notebook's own errors ---


def test_notebook_shows_the_errors_that_it_speaks_of(capsys):
    """A RuntimeError of another kind would be caught and shown just as well."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    chosen = source[:3] + [text for text in source if "except" in text or "latents = " in text]
    namespace: dict = {}
    grad = torch.is_grad_enabled()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for text in chosen:
                exec(text.replace("= 4.0  # s", "= 0.5  # s"), namespace)  # noqa: S102 (our notebook)
    finally:
        torch.set_grad_enabled(grad)
    said = capsys.readouterr().out
    assert "expected input[1, 50, 64] to have 64 channels, but got 50" in said
    assert "[1, 1, 1, 50, 64]" in said
    assert said.count("looks transposed") == 2  # the mel, and the latent
    assert "should be the same" in said
    assert "after the fix: [8000]" in said
