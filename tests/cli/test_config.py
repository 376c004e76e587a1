"""``--config``: options from a YAML file, and the file of what was used."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import soundfile as sf
import yaml
from helpers.in_process import run
from helpers.sounds import make_sound
from helpers.training_parts import write_sounds

from vaerecon.cli.main import cli
from vaerecon.training.run_files import read_checkpoint


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in ("a", "b ü"):
        sf.write(tmp_path / f"{name}.wav", make_sound(0.3), 16000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parameters(command: str, text: str, *args: str) -> dict:
    """What a command would be called with."""
    Path("run.yaml").write_text(text, encoding="utf-8")
    found, args = cli, [command, *args, "--config", "run.yaml"]
    for name in command.split():
        found = found.commands[name]
    context = {**cli.context_settings, "info_name": command}
    return found.make_context(args=args[1:], **context).params


def test_values_are_those_of_the_command_line(folder):
    text = """
        clips: [a.wav, 'b ü.wav']
        output: t.csv
        methods: [fast, griffinlim]   # as fast,griffinlim
        max_length: 2                 # as max-length
        exclude-metric: visqol
        only-through-vae: yes
        model: /a/folder
        device:                       # not given
        seed: 3
    """
    args = ["a.wav", "b ü.wav", "--output", "t.csv", "--methods", "fast,griffinlim", "--max-length",
            "2", "--exclude-metric", "visqol", "--only-through-vae", "--model", "/a/folder",
            "--seed", "3"]  # fmt: skip
    assert parameters("compare", text) == parameters("compare", "", *args)
    shown = parameters("compare", text, "b ü.wav", "--seed", "4")
    assert (shown["seed"], shown["clips"]) == (4, (Path("b ü.wav"),))
    assert shown["methods"] == "fast,griffinlim"
    vary = "vary: {n_fft: [512, 768], fmin: 20}\nclips: x\nexclude-metric: []"
    found = parameters("sweep", vary)
    assert found["vary"] == {"n_fft": [512.0, 768.0], "fmin": [20.0]}
    assert found["exclude_metrics"] == []  # the default has one
    training = parameters("train vae", "data: x\noutput: y\nprecision: no\nfreeze-encoder: false")
    assert (training["precision"], training["freeze_encoder"]) == ("no", False)


BAD = {
    "modle: tiny": "did you mean 'model'?",
    "config: other.yaml": "got 'config'",
    "no-vae-free: true": "got 'no-vae-free'",
    "seed: many": "'many' is not a valid integer",
    "seed: 1.5": "'1.5' is not a valid integer",
    "seed: [1, 2]": "'1,2' is not a valid integer",
    "seed: {a: 1}": "expected a value or a list of them",
    "methods: [[fast]]": "expected a value or a list of them",
    "resume: maybe": "'maybe' is not a valid boolean",
    "exclude-metric: [rmsee]": "'rmsee' is not one of",
    "dtype: float8": "'float8' is not one of",
    "model: [tiny, music": "cannot read 'run.yaml' as YAML",
    "- model": "expected lines such as 'seed: 1'",
    "plugin: nosuch.py": "expected a Python file",
    "\udcff": "cannot read 'run.yaml' as YAML",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_files_are_one_line_status_2_and_nothing_written(folder, text):
    (folder / "run.yaml").write_bytes(text.encode(errors="surrogateescape"))
    before = sorted(folder.iterdir())
    done = run("compare", "a.wav", "--output", "t.csv", "--config", "run.yaml", cwd=folder)
    assert done.status == 2
    assert BAD[text] in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["nosuch.yaml", "."])
def test_a_file_that_cannot_be_read(folder, name):
    done = run("compare", "a.wav", "--output", "t.csv", "--config", name, cwd=folder)
    assert done.status == 2
    assert "--config: cannot read" in done.stderr


def kept(path: Path) -> dict:
    """A settings file without the name of the output."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert found.pop("output")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["compare", "a.wav", "b ü.wav", "--methods", "griffinlim", "--max-length", "0.25",
         "--exclude-metric", "visqol", "--exclude-metric", "pesq-wb", "--workers", "1"],
        ["sweep", "b ü.wav", "--vary", "n_fft=512,768", "--vary", "fmin=12.5", "--workers", "1",
         "--seed", "3"],
    ],
    ids=["compare", "sweep"],
)  # fmt: skip
def test_what_a_table_was_made_with_can_be_given_back(folder, command):
    done = run(*command, "--output", "first.parquet", cwd=folder)
    assert done.status == 0, done.stderr
    again = ["--config", "first.parquet.yaml", "--output", "second ü.parquet"]
    done = run(command[0], *again, cwd=folder)
    assert done.status == 0, done.stderr
    assert kept(folder / "first.parquet.yaml") == kept(folder / "second ü.parquet.yaml")
    first, second = map(pd.read_parquet, ("first.parquet", "second ü.parquet"))
    assert first.attrs == second.attrs
    timed = ["seconds", "real_time_factor"]
    pd.testing.assert_frame_equal(first.drop(columns=timed), second.drop(columns=timed))
    done = run(command[0], "--config", "first.parquet.yaml", cwd=folder)
    assert done.status == 2  # it does not replace what is there
    assert "exists and is complete" in done.stderr


@pytest.mark.slow
def test_what_a_part_was_trained_with_can_be_given_back(folder, monkeypatch):
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    (folder / "data").mkdir()
    data = write_sounds(folder / "data")
    done = run("train", "vae", "--data", data, "--output", "out", "--steps", 2, "--frames", 16,
               "--batch-size", 1, "--samples", 0, "--validation-crops", 2, "--kl-weight", 0.01,
               "--seed", 5, cwd=folder)  # fmt: skip
    assert done.status == 0, done.stderr
    used = folder / "out" / "vae_run" / "run.yaml"
    before = used.read_bytes()
    again = run("train", "vae", "--config", used, "--output", "new", cwd=folder)
    assert again.status == 0, again.stderr
    assert kept(folder / "new" / "vae_run" / "run.yaml") == kept(used)
    states = [read_checkpoint(folder / out / "vae_run" / "checkpoint.pt") for out in ("out", "new")]
    for name in ("config", "objective", "steps"):
        assert states[0][name] == states[1][name]
    assert json.dumps(kept(used))  # plain values
    done = run("train", "vae", "--data", data, "--output", "out", "--resume", cwd=folder)
    assert done.status == 0, done.stderr
    assert used.read_bytes() == before  # not the few options of --resume
