"""Training at toy size: it learns, goes on exactly where it was killed, and keeps its budget."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.sounds import make_sound
from helpers.system import UNIT
from helpers.training_parts import OPTIONS, VAE_SIZE, assert_same_end, run, write_sounds

from vaerecon.mel.front_end import log_mel
from vaerecon.metrics.scores import METRICS
from vaerecon.models.autoencoder import encode
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.training.data.augmentation import NO_AUGMENTATION
from vaerecon.training.loop import TrainingLoop, WeightAverage
from vaerecon.training.model_folder import export
from vaerecon.training.parts.part import Data
from vaerecon.training.parts.vae import VaeObjective, build_vae
from vaerecon.training.parts.vocoder import VocoderSize, build_vocoder
from vaerecon.training.run import train, train_all
from vaerecon.training.run_files import read_curve
from vaerecon.training.settings import LoopConfig, learning_rate
from vaerecon.training.weights import load_part

pytestmark = pytest.mark.slow  # most of them train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def data(folder):
    """The folder, read once."""
    torch.set_num_threads(1)  # as `run` does: on two, the mean of all mels has other last digits
    return Data.read([folder])


# --- going on -------------------------------------------------------------------------------------


def goes_on_as_if_nothing_had_been(part, data, cut, tmp_path):
    """Resume what lies in ``cut``, and compare its end with that of an uninterrupted run."""
    resumed = run(part, data, cut, 6, resume=True, adversarial_from=1)
    whole = run(part, data, tmp_path / "whole", 6, adversarial_from=1)
    assert resumed["step"] == 6
    assert_same_end(resumed, whole)
    curves = [read_curve(f / f"{part}_run" / "curve.csv") for f in (cut, tmp_path / "whole")]
    for row in curves[0] + curves[1]:
        del row["seconds"]
    assert curves[0] == curves[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")
@pytest.mark.process
@pytest.mark.fault
def test_a_killed_run_goes_on_bit_by_bit(data, tmp_path, monkeypatch):
    """In the fourth step, after the checkpoint of the second."""
    cut, real = tmp_path / "killed", TrainingLoop._one_step

    def killed(loop):
        if loop.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(loop)

    if not (pid := os.fork()):
        try:
            monkeypatch.setattr(TrainingLoop, "_one_step", killed)
            run("vocoder", data, cut, 6, adversarial_from=1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert [row["step"] for row in read_curve(cut / "vocoder_run" / "curve.csv")] == [2]
    goes_on_as_if_nothing_had_been("vocoder", data, cut, tmp_path)


@pytest.mark.parametrize("part", ["vae", "fast"])
@pytest.mark.slow
def test_a_run_that_ends_while_it_saves_goes_on_bit_by_bit(part, data, tmp_path, monkeypatch):
    """The fourth step's checkpoint is written, but not yet in the place of the second's."""
    real, cut = os.replace, tmp_path / "cut"

    def stopped(source, target):
        if "checkpoint" in str(source) and Path(target).exists():
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stopped)
        run(part, data, cut, 6, adversarial_from=1)
    steps = [row["step"] for row in read_curve(cut / f"{part}_run" / "curve.csv")]
    assert steps == [2, 4]  # the curve is ahead of the state
    goes_on_as_if_nothing_had_been(part, data, cut, tmp_path)


def test_another_seed_takes_other_steps(data, tmp_path):
    """Else the test above could pass on a training that draws nothing."""
    one, other = (run("vae", data, tmp_path / str(seed), 2, seed=seed) for seed in (0, 1))
    name = "decoder.conv_in.weight"
    assert not torch.equal(one["average"][name], other["average"][name])


def test_a_finished_run_that_is_resumed_stays_as_it_is(data, tmp_path):
    first = run("vae", data, tmp_path, 2)
    again = run("vae", data, tmp_path, 2, resume=True)
    assert_same_end(first, again)


def test_other_settings_are_refused_on_resume(data, tmp_path):
    run("vae", data, tmp_path, 2)
    with pytest.raises(ValueError, match=r"began with steps = 2, got 8; resume with the same"):
        run("vae", data, tmp_path, 8, resume=True)
    with pytest.raises(ValueError, match=r"began with batch_size = 2, got 3"):
        run("vae", data, tmp_path, 2, resume=True, batch_size=3)


def test_a_training_is_not_written_over(data, tmp_path):
    before = run("vae", data, tmp_path, 2)
    with pytest.raises(ValueError, match=r"holds a training .*; go on with --resume"):
        run("vae", data, tmp_path, 2)
    assert_same_end(before, run("vae", data, tmp_path, 2, resume=True))


def test_a_damaged_checkpoint_is_refused(data, tmp_path):
    run("vae", data, tmp_path, 2)
    path = tmp_path / "vae_run" / "checkpoint.pt"
    whole = path.read_bytes()
    for damaged in (whole[:5000], b"", b"not a checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="got no training checkpoint"):
            run("vae", data, tmp_path, 2, resume=True)


# --- what is trained ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_loss_falls(data, tmp_path):
    run("vae", data, tmp_path, 30)
    maes = [row["mae"] for row in read_curve(tmp_path / "vae_run" / "curve.csv")]
    assert len(maes) == 15
    assert np.mean(maes[-3:]) < 0.8 * np.mean(maes[:3])


@pytest.mark.slow
def test_discriminators_join_at_their_step_and_learn(data, tmp_path):
    run("vae", data, tmp_path, 40, adversarial_from=0.5, discriminator_rate=1e-2)
    rows = read_curve(tmp_path / "vae_run" / "curve.csv")
    assert [row["step"] for row in rows if "discriminator" in row] == list(range(22, 42, 2))
    assert rows[-1]["discriminator"] < 0.9 * rows[10]["discriminator"]
    assert rows[-1]["loss"] > rows[-1]["mae"]  # their adversarial counts


def test_without_a_wish_there_are_no_discriminators(data, tmp_path):
    assert "discriminator" not in run("vae", data, tmp_path, 2)


def test_checkpoints_come_with_pictures_and_sound(data, tmp_path):
    import soundfile as sf

    run("vocoder", data, tmp_path, 4, samples=1, vae=None)
    folder = tmp_path / "vocoder_run" / "samples"
    assert sorted(p.name for p in folder.iterdir()) == [
        "crop0_0000002.wav",
        "crop0_0000004.wav",
        "crop0_original.wav",
        "step_0000002.png",
        "step_0000004.png",
    ]
    sounds = [sf.read(folder / f"crop0_{step}.wav")[0] for step in ("original", "0000004")]
    assert [len(x) for x in sounds] == [32 * 160] * 2
    assert (folder / "step_0000004.png").read_bytes().startswith(b"\x89PNG")


def test_a_third_of_the_vocoders_batches_come_through_the_vae(data):
    from vaerecon.training.parts.vocoder import VocoderPart

    part = VocoderPart(data, LoopConfig(steps=1, batch_size=1), **OPTIONS["vocoder"])
    drawn = [part.draw(np.random.default_rng((0, 0, step))) for step in range(300)]
    assert 80 < sum(batch["through_vae"] for batch in drawn) < 120  # 100, three deviations
    for through in (False, True):
        given = part.with_mel(next(b for b in drawn if b["through_vae"] is through))
        assert torch.equal(given["mel"], given["mel_in"]) is not through
        assert (given["mel"] - given["mel_in"]).abs().mean() < 1.0  # and it is that mel, returned


@pytest.mark.process
def test_reduced_precision_trains(zygote, tmp_path):
    """In a process of its own: accelerate keeps one precision for all that a process trains."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from helpers.training_parts import run, write_sounds\n"
        "out = Path(sys.argv[2]); (out / 'data').mkdir()\n"
        "state = run('vocoder', [write_sounds(out / 'data')], out / 'run', 2, precision='bf16',\n"
        "            adversarial_from=1)\n"
        "assert all(v.dtype.itemsize == 4 for v in state['average'].values())\n"
    )
    done = zygote.run([str(Path(__file__).parents[1]), str(tmp_path)], code=code)
    assert done.status == 0, done.stderr
    assert "warn" not in done.stderr.lower()
    (row,) = read_curve(tmp_path / "run" / "vocoder_run" / "curve.csv")
    assert all(np.isfinite(value) for value in row.values())


# --- from trained weights -------------------------------------------------------------------------


def weights(state: dict, prefix: str) -> dict[str, torch.Tensor]:
    return {name: v for name, v in state["average"].items() if name.startswith(prefix)}


def changed(before: dict, after: dict) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("freeze", [None, True, False])
@pytest.mark.slow
def test_fine_tuning_trains_the_decoder_and_leaves_the_encoder(freeze, data, tmp_path):
    """None is the default: latents of weights that others have trained keep their meaning."""
    start = run("vae", data, tmp_path / "first", 2)
    rate = {"learning_rate": 1e-2}
    source = tmp_path / "first"
    tuned = run("vae", data, tmp_path / "tuned", 4, init=source, freeze_encoder=freeze, **rate)
    for prefix in ("encoder.", "quant_conv."):
        assert bool(changed(weights(start, prefix), tuned["average"])) is (freeze is False)
    decoder = weights(start, "decoder.")
    assert changed(decoder, tuned["average"]) == decoder.keys()


def test_the_bundled_weights_are_a_start(data, tmp_path):
    config = LoopConfig(steps=1, batch_size=1, validation_crops=2, samples=0)
    for part in ("vae", "vocoder"):
        options = OPTIONS[part] | {"init": "tiny"}
        loop = train(part, data, tmp_path, config, **options)
        (row,) = read_curve(tmp_path / f"{part}_run" / "curve.csv")
        assert row["validation_mae"] < 1.0  # a fresh one has 2 and more
        assert all(p.requires_grad for p in loop.part.model.parameters())


def test_a_start_from_nowhere_is_refused(data, tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    for init, message in {
        "musik": "did you mean 'music'",
        str(tmp_path / "vae"): "only safetensors are read",
        str(tmp_path): "only safetensors are read",
    }.items():
        with pytest.raises(ValueError, match=message):
            run("vae", data, tmp_path / "out", 2, init=init)
        assert not (tmp_path / "out").exists()


def test_standardisation_is_folded_into_the_first_and_last_convolution():
    """The folded model on raw log-mel is the plain one on standardised log-mel."""
    x = torch.randn(1, 1, 32, 64)
    torch.manual_seed(0)
    plain = build_vae(VAE_SIZE, 0.0, 1.0)
    torch.manual_seed(0)
    folded = build_vae(VAE_SIZE, -5.0, 2.5)
    first, raw = plain.encoder.conv_in(x), folded.encoder.conv_in(2.5 * x - 5.0)
    # away from the border, where zero padding means another level
    torch.testing.assert_close(raw[..., 1:-1, 1:-1], first[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)
    hidden = torch.randn(1, 4, 8, 8)
    last = plain.decoder.conv_out(hidden)
    torch.testing.assert_close(folded.decoder.conv_out(hidden), 2.5 * last - 5.0)


def test_a_fresh_vocoder_makes_sound_of_a_sensible_level():
    torch.manual_seed(0)
    vocoder = build_vocoder(VocoderSize(), -5.0, 2.5)
    with torch.no_grad():
        samples = vocoder(log_mel(make_sound(), normalize=False)[None])
    assert samples.shape[-1] == 16000
    assert 1e-3 < float(samples.std()) < 0.5


# --- schedule, average, budget --------------------------------------------------------------------


def test_schedule_rises_and_falls_within_its_bounds():
    config = LoopConfig(steps=100, learning_rate=1.0)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[0] < 0.1
    assert rates[-1] == pytest.approx(0.01, abs=1e-6)


def test_the_average_follows_and_is_put_in_only_for_a_while():
    model = torch.nn.BatchNorm1d(1)  # with a buffer that counts, besides weights
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)  # it was 1
    model.num_batches_tracked.fill_(7)
    average.update(step=100)
    assert average.weights["weight"].item() == 2.0
    assert average.weights["num_batches_tracked"].item() == 7
    with average.applied():
        assert model.weight.item() == 2.0
    assert model.weight.item() == 3.0
    average = WeightAverage(model, decay=0.995)
    with torch.no_grad():
        model.weight.fill_(4.0)
    average.update(step=1)
    assert average.weights["weight"].item() > 3.5  # the first steps are soon forgotten


def test_a_budget_of_minutes_becomes_steps_and_is_kept(data, tmp_path):
    began, seconds = time.perf_counter(), 1.2 * UNIT
    state = run("vae", data, tmp_path, 0, minutes=seconds / 60, save_every=1000)
    # no time test: it ends by itself
    assert time.perf_counter() - began < 2 * seconds + 3 * UNIT
    rows = read_curve(tmp_path / "vae_run" / "curve.csv")
    assert state["step"] == state["steps"] == rows[-1]["step"]
    assert rows[0]["step"] == 12  # where the number of steps is chosen
    assert state["steps"] > 12
    rate = state["optimizer"]["param_groups"][0]["lr"]
    peak = LoopConfig(steps=1).learning_rate
    assert rate == learning_rate(state["steps"] - 1, state["steps"], LoopConfig(steps=1))
    assert rate < 0.2 * peak  # the cycle was gone through


def test_a_run_with_a_budget_goes_on_with_the_steps_that_it_chose(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_plan", lambda self, *_: self._set_steps(20))
        real = TrainingLoop._one_step

        def stopped(self):
            if self.step == 17:
                raise KeyboardInterrupt
            return real(self)

        patch.setattr(TrainingLoop, "_one_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            run("vae", data, tmp_path / "cut", 0, minutes=60, save_every=1000)
    resumed = run("vae", data, tmp_path / "cut", 0, minutes=60, save_every=1000, resume=True)
    assert resumed["steps"] == resumed["step"] == 20


@pytest.mark.parametrize("slow", [range(12, 9999), range(12)], ids=["slower", "quicker"])
def test_a_machine_that_changes_its_speed_gets_other_steps(data, tmp_path, monkeypatch, slow):
    """The data come late, after the number of steps was chosen or until then."""
    real, drawn, late = data.training.batch, [], 0.1 * UNIT

    def batch(*args, **options):
        if len(drawn) in slow:
            time.sleep(late)
        drawn.append(0)
        return real(*args, **options)

    monkeypatch.setattr(data.training, "batch", batch)
    budget = 30 * late
    state = run("vae", data, tmp_path, 0, minutes=budget / 60, save_every=4)
    if slow.start:  # four may come before it is seen that all are late
        assert 12 < state["step"] <= 12 + 30 + 4
    else:  # as first planned there would be so many at most, each as late as the first twelve
        first = read_curve(tmp_path / "vae_run" / "curve.csv")[0]["seconds"]
        assert state["step"] > 12 + max(0.0, budget - first) / late


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected one of them"),
        ({"steps": 5, "minutes": 1.0}, "expected one of them"),
        ({"minutes": -1.0}, "minutes: got -1.0"),
        ({"steps": 5, "batch_size": 0}, "batch_size: got 0"),
        ({"steps": 5, "learning_rate": float("nan")}, "learning_rate: got nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LoopConfig(**settings)


# --- all, and what is shipped ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """VAE and vocoder from one folder in one go."""
    output = tmp_path_factory.mktemp("all") / "run"
    torch.set_num_threads(1)
    given = {"batch_size": 2, "validation_crops": 2, "samples": 0}
    minutes = 0.03 * UNIT
    train_all([folder], output, minutes, given, parts=("vae", "vocoder"), options=OPTIONS)
    return output


def test_all_trains_every_part_and_the_vocoder_hears_the_new_vae(trained, folder, monkeypatch):
    for part in ("vae", "vocoder"):
        rows = read_curve(trained / f"{part}_run" / "curve.csv")
        assert rows[-1]["step"] > 12
        assert (trained / part / "config.json").exists()
    from vaerecon.training import run as road

    monkeypatch.setattr(road, "train", pytest.fail)  # nothing is left to do
    train_all([folder], trained, 0.1, {}, resume=True, parts=("vae", "vocoder"))


def test_export_is_float16_with_checksums_and_loads_as_float32(trained, tmp_path):
    digests = export(trained, tmp_path / "shipped")
    assert set(digests) == {"vae/diffusion_pytorch_model.safetensors", "vocoder/model.safetensors"}
    record = json.loads((tmp_path / "shipped" / "training.json").read_text())
    assert record["vae"]["config"]["steps"] == record["vae"]["curve"][-1]["step"]
    assert record["vae"]["objective"]["kl_weight"] == VaeObjective().kl_weight
    assert record["sha256"] == digests
    factors = [load_part("vae", f).config.scaling_factor for f in (trained, tmp_path / "shipped")]
    assert factors[0] == factors[1] != 0.18215
    for path in (tmp_path / "shipped").rglob("*.json"):
        assert str(trained) not in path.read_text()

    pipe = ReconstructionPipeline.from_pretrained(str(tmp_path / "shipped"), device="cpu")
    assert pipe.dtype == torch.float32
    assert pipe.decode(pipe.encode(log_mel(make_sound()))).shape == (100, 64)


def test_export_twice_gives_the_same_bytes(trained, tmp_path):
    export(trained, tmp_path / "once")
    export(trained, tmp_path / "twice")
    export(trained, tmp_path / "twice")  # over the first
    files = [
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (tmp_path / "once", tmp_path / "twice")
    ]
    assert len(files[0]) == 6
    assert files[0] == files[1]


@pytest.mark.slow
def test_a_part_trained_alone_makes_a_whole_model_with_copies_of_the_others(data, tmp_path):
    """Of tiny's, named as such, until they are trained themselves."""
    output, shipped = tmp_path / "run", tmp_path / "shipped"
    for part, other in (("fast", "vocoder"), ("vae", "vocoder"), ("vocoder", None)):
        run(part, data, output, 2)
        pipe = ReconstructionPipeline.from_pretrained(str(output), device="cpu")
        made = pipe(make_sound(0.3), "vocoder,fast", exclude_metrics=METRICS)
        assert made.audio["vocoder"].abs().max() > 0
        export(output, shipped)
        for folder in (output, shipped):
            record = json.loads((folder / "training.json").read_text())
            card = (folder / "README.md").read_text()
            assert record[part]["trained"]
            assert record[part]["init"] is None
            assert f"| {part} | yes | trained from random weights |" in card
            assert "copied_from" not in record[part]
            if other:
                assert (record[other]["trained"], record[other]["copied_from"]) == (False, "tiny")
                assert f"| {other} | **no** | a copy of tiny, not trained | apache-2.0 |" in card
            else:
                assert "**no**" not in card
            assert str(tmp_path) not in card + json.dumps(record)
        copied, tiny = (load_part("vocoder", f).state_dict() for f in (output, "tiny"))
        assert bool(other) is (copied.keys() == tiny.keys() and not changed(tiny, copied))


def test_missing_parts_come_from_the_folder_that_training_began_with(data, tmp_path):
    run("vocoder", data, tmp_path / "first", 2)
    run("fast", data, tmp_path / "first", 2)
    run("vae", data, tmp_path / "second", 1, init=tmp_path / "first")
    record = json.loads((tmp_path / "second" / "training.json").read_text())
    assert record["vae"]["init"] == "first"
    for part in ("vocoder", "fast"):
        assert record[part] == {"trained": False, "copied_from": "first"}
        assert not changed(
            *(load_part(part, tmp_path / f).state_dict() for f in ("first", "second"))
        )


def test_a_folder_that_was_moved_still_loads_and_a_card_of_one_s_own_stays(data, tmp_path):
    run("vae", data, tmp_path / "here", 1)
    moved = (tmp_path / "here").rename(tmp_path / "there")
    assert ReconstructionPipeline.from_pretrained(str(moved), device="cpu").vae
    for path in [*moved.rglob("*.json"), *moved.rglob("*.md")]:
        assert str(tmp_path) not in path.read_text()
    (moved / "README.md").write_text("# My own words\n")
    run("vocoder", data, moved, 1)
    assert (moved / "README.md").read_text() == "# My own words\n"
    assert json.loads((moved / "training.json").read_text())["vocoder"]["trained"]


def test_a_part_that_was_not_trained_to_its_end_is_not_called_trained(data, tmp_path, monkeypatch):
    """Killed after its last step: what lies there is still the copy."""
    run("vae", data, tmp_path, 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WeightAverage, "load", interrupted)
        run("vocoder", data, tmp_path, 1)
    export(tmp_path, tmp_path / "shipped")
    for folder in (tmp_path, tmp_path / "shipped"):
        record = json.loads((folder / "training.json").read_text())
        assert (record["vocoder"]["trained"], record["vocoder"]["copied_from"]) == (False, "tiny")
    from vaerecon.training.model_folder import is_trained

    assert not is_trained(tmp_path, "vocoder")
    run("vocoder", data, tmp_path, 1, resume=True)
    assert is_trained(tmp_path, "vocoder")


def interrupted(*_):
    raise KeyboardInterrupt


def test_export_of_half_a_model_is_refused(data, tmp_path):
    run("vae", data, tmp_path / "run", 2)
    shutil.rmtree(tmp_path / "run" / "vocoder")
    with pytest.raises(ValueError, match=r"has no vocoder/; train it first"):
        export(tmp_path / "run", tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


# --- the scaling factor ---------------------------------------------------------------------------


@pytest.mark.parametrize("freeze", [False, True])
def test_a_trained_encoder_gets_its_scaling_factor_and_a_frozen_one_keeps_its_own(
    freeze, data, tmp_path
):
    start = build_vae(VAE_SIZE, data.mean, data.deviation)
    start.register_to_config(scaling_factor=0.411)
    start.save_pretrained(tmp_path / "start" / "vae")
    run("vae", data, tmp_path / "run", 2, init=tmp_path / "start", freeze_encoder=freeze)
    export(tmp_path / "run", tmp_path / "shipped")
    vae = load_part("vae", tmp_path / "run" / "vae")
    crops = data.validation.batch(2, 2 * 16 * 160, np.random.default_rng(1), NO_AUGMENTATION)
    latents = encode(vae, log_mel(crops, normalize=False))
    expected = 0.411 if freeze else 1 / float(latents.std())
    for folder in (tmp_path / "run", tmp_path / "shipped"):
        config = json.loads((folder / "vae" / "config.json").read_text())
        record = json.loads((folder / "training.json").read_text())["vae"]
        assert config["scaling_factor"] == pytest.approx(expected, rel=1e-3)
        assert record["scaling_factor"] == config["scaling_factor"]
        assert record["encoder_trained"] is not freeze
        card = (folder / "README.md").read_text()
        assert f"`scaling_factor` of the VAE: {expected:.3g}"[:-1] in card
        assert ("the encoder was frozen" in card) is freeze
