"""The fine-tuning that notebook 05 shows, at very small sizes."""

from __future__ import annotations

import pandas as pd
import pytest
import soundfile as sf
import torch
from helpers.sounds import make_sound
from helpers.training_parts import VAE_SIZE

from vaerecon.lab.nb05_fine_tuning import solutions as solutions_05
from vaerecon.lab.nb05_fine_tuning import tuning
from vaerecon.mel.front_end import log_mel
from vaerecon.training.parts.vae import build_vae

MEL = log_mel(make_sound(0.64))


@pytest.fixture(scope="module")
def vaes():
    """Two VAEs with one encoder, and one with another."""
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(build_vae(VAE_SIZE, -5.0, 2.5).eval())
    mixed = build_vae(VAE_SIZE, -5.0, 2.5).eval()
    mixed.load_state_dict(made[0].state_dict())
    mixed.decoder.load_state_dict(made[1].decoder.state_dict())
    mixed.post_quant_conv.load_state_dict(made[1].post_quant_conv.state_dict())
    return {"first": made[0], "decoder": mixed, "both": made[1]}


@pytest.fixture
def frozen(vaes):
    curve = pd.DataFrame({"mae": [1.0, 0.5], "validation_mae": [0.9, 0.6]}, index=[5, 10])
    return tuning.Tuning(vaes["first"], vaes["decoder"], curve)


@pytest.fixture
def trained(vaes, frozen):
    return tuning.Tuning(vaes["first"], vaes["both"], frozen.curve)


# --- what it learns from --------------------------------------------------------------------------


def test_a_kind_of_sound_is_the_same_for_the_same_seed(tmp_path):
    first = tuning.training_folder("chirps", tmp_path / "a", 3)
    again = tuning.training_folder("chirps", tmp_path / "b", 3)
    other = tuning.training_folder("chirps", tmp_path / "a", 4)
    files = [sorted(p.read_bytes() for p in f.iterdir()) for f in (first, again, other)]
    assert len(files[0]) == tuning.N_CLIPS
    assert files[0] == files[1] != files[2]
    clip = tuning.held_out_clip(first, max_length=1.0)
    assert clip.duration == 1.0
    assert clip.name.startswith("chirps_")


def test_a_folder_of_ones_own_is_taken_as_it_is(tmp_path):
    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", make_sound(0.2), 16000)
    assert tuning.training_folder(str(tmp_path), tmp_path / "unused") == tmp_path
    assert not (tmp_path / "unused").exists()


def test_neither_a_kind_nor_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of audio or one of chirps"):
        tuning.training_folder("chirp", tmp_path)
    with pytest.raises(ValueError, match="expected a folder with audio files"):
        tuning.training_folder(str(tmp_path), tmp_path)


# --- before and after -----------------------------------------------------------------------------


@pytest.mark.slow
def test_fine_tuning_makes_the_decoder_better_at_its_sounds(tmp_path):
    folder = tuning.training_folder("chirps", tmp_path)
    options = {"learning_rate": 1e-3, "batch_size": 2}
    result = tuning.fine_tune("tiny", folder, steps=24, **options)
    mel = log_mel(tuning.held_out_clip(folder).samples)
    assert tuning.error(result.after, mel) < 0.95 * tuning.error(result.before, mel)
    assert tuning.latent_shift(result, mel) == 0
    assert list(result.curve.index) == list(range(2, 25, 2))
    both = tuning.fine_tune("tiny", folder, steps=4, **options, train_encoder=True)
    assert tuning.latent_shift(both, mel) > tuning.MOVED


@pytest.mark.slow
def test_a_small_model_is_trained_by_one_thread_and_the_number_is_put_back(tmp_path):
    """Three threads round differently: the same weights come from the same number."""
    folder = tuning.training_folder("chirps", tmp_path)
    before, weights = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            result = tuning.fine_tune("tiny", folder, steps=2, learning_rate=1e-3, batch_size=2)
            assert torch.get_num_threads() == threads
            weights.append(result.after.decoder.conv_in.weight)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*weights)


def test_latents_that_moved_are_noticed(frozen, trained):
    assert tuning.latent_shift(frozen, MEL) == 0
    tuning.check_latents_kept(frozen, MEL)
    with pytest.raises(ValueError, match="freeze the encoder"):
        tuning.check_latents_kept(trained, MEL)


def test_the_table_says_what_was_gained_and_lost(frozen):
    table = tuning.error_table(frozen, {"own": MEL, "other": MEL + 0.5})
    row = table.loc["own"]
    assert row["before"] == pytest.approx(tuning.error(frozen.before, MEL))
    assert row["change (%)"] == pytest.approx(100 * (row["after"] / row["before"] - 1))
    table = pd.DataFrame(
        {"before": [0.3, 0.2], "after": [0.2, 0.25], "change (%)": [-33.3, 25.0]},
        index=["own", "other"],
    )
    text = tuning.result_text(table)
    assert "**own**, held out: 0.300 to 0.200 nepers (-33 %), better." in text
    assert "**other**, another kind of sound: 0.200 to 0.250 nepers (+25 %), not better." in text
    worse = tuning.result_text(table.iloc[::-1])
    assert "held out: 0.200 to 0.250 nepers (+25 %), not better." in worse
    assert "another kind of sound: 0.300 to 0.200 nepers (-33 %), better." in worse


def test_the_ends_of_the_way_are_the_two_decoders(frozen):
    errors = tuning.blend_errors(frozen, {"own": MEL, "other": MEL + 0.5})
    assert list(errors.index) == list(tuning.SHARES)
    assert errors.loc[0.0, "own"] == tuning.error(frozen.before, MEL)
    assert errors.loc[1.0, "own"] == pytest.approx(tuning.error(frozen.after, MEL))
    half = tuning.blend(frozen, 0.5).decoder.conv_in.weight
    ends = [vae.decoder.conv_in.weight for vae in (frozen.before, frozen.after)]
    torch.testing.assert_close(half, (ends[0] + ends[1]) / 2)
    with pytest.raises(ValueError, match=r"share: got 1\.5"):
        tuning.blend(frozen, 1.5)


def test_sounds_before_and_after_have_the_clips_length(frozen):
    samples = make_sound(0.64)
    tracks = tuning.sounds_of(frozen, MEL, samples)
    assert list(tracks) == ["original", "before", "after"]
    assert {len(track) for track in tracks.values()} == {len(samples)}
    assert not torch.equal(tracks["before"], tracks["after"])


# --- pictures and the explorer --------------------------------------------------------------------


def test_pictures_show_what_they_say(frozen):
    _, axes = tuning.plot_before_after(frozen, MEL, "clip")
    error = tuning.error(frozen.before, MEL)
    assert axes[1].get_title() == f"before, minus original: {error:.3f} nepers"


@pytest.mark.slow
def test_the_slider_draws_another_picture(frozen):
    box = tuning.explorer_blend(frozen, {"own": MEL, "other": MEL + 0.5})
    controls, status, image, sound = box.children
    before = image.value
    controls.children[0].value = 0.0
    assert image.value != before
    before = image.value
    controls.children[1].value = "other"
    assert image.value != before
    controls.children[2].click()
    (player,) = sound.children
    heard = player.pcm
    controls.children[0].value = 1.0  # the sound goes with the picture
    assert sound.children == (player,)
    assert player.pcm != heard
    assert status.value == ""


# --- exercises ------------------------------------------------------------------------------------


def test_solutions_are_correct_and_mistakes_are_told():
    right = {name: getattr(solutions_05, name) for name in solutions_05.CHECKS}
    assert solutions_05.check_exercises(**right).count("correct") == 3
    nothing = dict.fromkeys(right, lambda *_: None)
    assert solutions_05.check_exercises(**nothing).count("not tried yet") == 3
    wrong = {
        "moving_average": lambda values, decay: [v * (1 - decay) for v in values],
        "one_cycle": lambda step, steps, peak: peak * step / steps,
        "best_share": lambda own, other, most: own.index(min(own)),
    }
    text = solutions_05.check_exercises(**wrong)
    assert text.count("not yet: ") == 3
    assert "begin at the first" in text
