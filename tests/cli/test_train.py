"""``vaerecon train``, started as people start it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import in_process
from helpers.hub_server import serve
from helpers.sounds import write_flac
from helpers.system import LIMIT
from helpers.training_parts import VAE_SIZE, write_sounds
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from vaerecon.cli.train import train
from vaerecon.models.sources import VARIANTS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.training.model_folder import export
from vaerecon.training.parts.vae import build_vae
from vaerecon.training.run_files import read_checkpoint, read_curve
from vaerecon.training.settings import DEFAULTS, PARTS
from vaerecon.training.weights import load_part

QUICK = ["--batch-size", "1", "--samples", "0", "--validation-crops", "2", "--device", "cpu"]
SMALL = [*QUICK, "--frames", "16"]
FETCHED = ["music", "speech", "large"]  # variants from a hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("data"))


@pytest.fixture
def command(monkeypatch):
    """The command in this process: starting torch takes longer than these trainings."""
    torch.set_num_threads(1)
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)

    def run(*args):
        train.main([str(a) for a in args], standalone_mode=False)

    return run


def vaerecon(*args, cwd) -> subprocess.CompletedProcess:
    code = (
        "import sys; from vaerecon.cli.main import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.mark.slow
def test_each_part_is_trained_by_name_and_goes_on(folder, tmp_path, command, capsys):
    extra = {"vae": ["--kl-weight", "0.01"], "vocoder": ["--vae", "none"], "fast": []}
    for part in PARTS:
        args = [part, "--data", folder, "--output", tmp_path, "--steps", "2", *SMALL, *extra[part]]
        command(*args)
        assert (tmp_path / part / "config.json").exists()
        command(part, "--data", folder, "--output", tmp_path, "--resume")  # its own settings
    state = read_checkpoint(tmp_path / "vae_run" / "checkpoint.pt")
    assert state["config"]["learning_rate"] == DEFAULTS["vae"].learning_rate
    assert state["config"]["batch_size"] == 1
    assert state["objective"]["kl_weight"] == 0.01
    assert state["config"]["adversarial_from"] is None
    with pytest.raises(ValueError, match=r"began with kl_weight = 0\.01, got 0\.5"):
        command("vae", "--data", folder, "--output", tmp_path, "--resume", "--kl-weight", "0.5")
    command("export", tmp_path, tmp_path / "shipped")
    assert capsys.readouterr().out.count(".safetensors") == 3


def test_fine_tuning_has_gentler_defaults(folder, tmp_path, command):
    command("vae", "--data", folder, "--output", tmp_path, "--init", "tiny", "--steps", "1", *SMALL)
    state = read_checkpoint(tmp_path / "vae_run" / "checkpoint.pt")
    assert state["config"]["learning_rate"] == pytest.approx(0.1 * DEFAULTS["vae"].learning_rate)


@pytest.mark.slow
def test_all_trains_all_within_its_minutes(folder, tmp_path, command):
    args = ["--data", folder, "--output", tmp_path / "new", "--minutes", "0.1"]
    command("all", *args, *QUICK)
    seconds = 0.0
    for part in PARTS:
        assert (tmp_path / "new" / part / "config.json").exists()
        state = read_checkpoint(tmp_path / "new" / f"{part}_run" / "checkpoint.pt")
        assert state["step"] == state["steps"] > 12
        assert (
            read_curve(tmp_path / "new" / f"{part}_run" / "curve.csv")[-1]["step"] == state["step"]
        )
        seconds += state["seconds"]
    assert seconds < 6 + 60  # 12 steps of each are always made, on the slowest machine too


@pytest.fixture(scope="module")
def fetched(folder, tmp_path_factory):
    """What one process trained of each variant: the VAE, a copy of that, then the vocoder too.

    From a hub on the loopback, in AudioLDM2's layout, at a small size.
    """
    root = tmp_path_factory.mktemp("fetched")
    served = root / "served"
    vae = build_vae(VAE_SIZE, -5.0, 2.5)
    vae.register_to_config(scaling_factor=0.411)
    vae.save_pretrained(served / "vae")
    layout = {"model_in_dim": 64, "upsample_rates": [5, 4, 2, 2, 2],
              "upsample_kernel_sizes": [16, 16, 8, 4, 4]}  # fmt: skip
    config = SpeechT5HifiGanConfig(**layout, upsample_initial_channel=32, normalize_before=False)
    vocoder = SpeechT5HifiGan(config)
    vocoder.save_pretrained(served / "vocoder")
    (served / "unet").mkdir()
    (served / "unet" / "config.json").write_text("{}")
    common = ["--data", folder, "--steps", "2", *SMALL]
    code = (
        "import shutil, sys; from vaerecon.cli.train import train\n"
        f"for name in {FETCHED}:\n"
        "    options = [*sys.argv[1:], '--output', name, '--init', name]\n"
        "    train.main(['vae', *options], standalone_mode=False)\n"
        "    shutil.copytree(name, name + '_vae')\n"
        "    train.main(['vocoder', *options], standalone_mode=False)\n"
    )
    with serve() as hub:
        for variant in FETCHED:
            hub.add(VARIANTS[variant].source, served)
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, common)],
            cwd=root,
            env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(root / "home"),
                              "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return SimpleNamespace(root=root, hub=hub, vae=vae, vocoder=vocoder)


@pytest.mark.parametrize("variant", FETCHED)
@pytest.mark.process
def test_init_fetches_a_variant_and_what_is_trained_loads(variant, fetched, tmp_path):
    output, only_vae = fetched.root / variant, fetched.root / f"{variant}_vae"
    vae, vocoder = fetched.vae, fetched.vocoder
    asked = set(fetched.hub.files_asked(VARIANTS[variant].source)) - {"api"}
    assert {name.split("/")[0] for name in asked} == {"vae", "vocoder"}

    tuned, old = load_part("vae", output).state_dict(), vae.state_dict()
    moved = {name for name, value in old.items() if not torch.equal(value, tuned[name])}
    assert moved == {name for name in old if name.startswith(("decoder.", "post_quant_conv."))}
    with torch.no_grad():
        samples = load_part("vocoder", output / "vocoder")(torch.zeros(1, 10, 64))
    assert samples.shape[-1] == 160 * 10 + 32

    copy, old = load_part("vocoder", only_vae).state_dict(), vocoder.state_dict()
    assert all(torch.equal(copy[name], value) for name, value in old.items())
    tuned = load_part("vocoder", output).state_dict()
    assert any(not torch.equal(tuned[name], value) for name, value in old.items())
    for trained in (only_vae, output):  # the first has been moved, as it were
        export(trained, tmp_path / "shipped")
        for place in (trained, tmp_path / "shipped"):
            model = ReconstructionPipeline.from_pretrained(str(place), device="cpu")
            assert model.decode(model.encode(torch.zeros(8, 64))).shape == (8, 64)
            assert model.vae.config.scaling_factor == 0.411  # the encoder was frozen
            record = json.loads((place / "training.json").read_text())
            assert record["vae"]["init"] == variant
            card = (place / "README.md").read_text()
            assert f"| vae | yes | trained from {variant} | cc-by-nc-sa-4.0 |" in card
            is_copy = trained != output
            assert record["vocoder"]["trained"] is not is_copy
            assert (f"| vocoder | **no** | a copy of {variant}, not trained |" in card) is is_copy


BAD = {
    "no data": (["vae", "--output", "out"], "Missing option '--data'"),
    "a missing folder": (["vae", "--data", "nosuch", "--output", "out"], "there is none"),
    "a file for data": (["vae", "--data", "notes.txt", "--output", "out"], "which is a file"),
    "a file for output": (["vae", "--data", "DATA", "--output", "notes.txt"], "which is a file"),
    "no steps": (["vae", "--data", "DATA", "--output", "out", "--steps", "0"], "--steps"),
    "both budgets": (
        ["vae", "--data", "DATA", "--output", "out", "--steps", "5", "--minutes", "1"],
        "expected one of them",
    ),
    "all without minutes": (["all", "--data", "DATA", "--output", "out"], "--minutes"),
    "a typo in a model": (
        ["vae", "--data", "DATA", "--output", "out", "--init", "musik"],
        "did you mean 'music'",
    ),
    "an unknown part": (["vea", "--data", "DATA", "--output", "out"], "No such command"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.process
def test_bad_input_is_one_line_status_2_and_nothing_written(case, folder, tmp_path):
    (tmp_path / "notes.txt").write_text("not a folder\n")
    args, message = BAD[case]
    done = vaerecon("train", *[folder if a == "DATA" else a for a in args], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    assert done.stdout.strip() == "False"  # torch was not needed to say so


@pytest.mark.process
def test_crops_that_cannot_be_read_end_a_training_in_one_line(folder, tmp_path, monkeypatch):
    """On disk, because there the header is believed: two seconds are called forty."""
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    shutil.copytree(folder, tmp_path / "data")
    write_flac(tmp_path / "data" / "take_1.flac", 32000, 16000, total=640000)
    args = ["--data", "data", "--output", "out", "--memory", "0", "--steps", "1", *SMALL]
    done = in_process.run("train", "vae", *args, cwd=tmp_path)
    assert done.status == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "crops could not be read, expected at most 5%" in line
    assert "take_1.flac" in line
    assert not (tmp_path / "out" / "vae").exists()


@pytest.mark.parametrize("part", ["vae", "all"])
def test_an_output_within_the_data_is_refused(part, folder, command):
    """Its sounds would be trained on."""
    output = folder / "run"
    budget = ["--minutes", "0.1"]
    with pytest.raises(ValueError, match="lies within the training data"):
        command(part, "--data", folder, "--output", output, *budget, *QUICK)
    assert not output.exists()


@pytest.mark.process
def test_help_is_quick_and_says_what_the_defaults_are(tmp_path):
    done = vaerecon("train", "vocoder", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.strip().endswith("False")
    text = " ".join(done.stdout.split())
    assert f"default: {DEFAULTS['vocoder'].steps}" in text
    assert "Train the parts of a model" in vaerecon("--help", cwd=tmp_path).stdout
