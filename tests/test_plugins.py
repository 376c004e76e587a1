"""Methods and metrics of other packages and files: found, computed in every process, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import soundfile as sf
from helpers.in_process import run
from helpers.sounds import make_sound
from helpers.system import LIMIT

import vaerecon as vr
from vaerecon.methods import METHODS
from vaerecon.metrics.scores import METRICS
from vaerecon.utils import plugins

METRIC = """
import vaerecon as vr

@vr.metrics.metric("{name}", "{label}", unit="FS", best="lower", range="0..2", perfect=0.0,
                   caveat="looks at one sample")
def function(reference, estimate):
    return abs(float(reference.read(0, len(reference)).max() - estimate.read(0, 400).max()))
"""
METHOD = """
from vaerecon.methods import method

@method("hush", "Hush", "a quiet hiss")
def hush(log_mel, n_samples, generator):
    import torch
    return 0.01 * torch.randn((*log_mel.shape[:-2], n_samples), generator=generator)
"""


def write_package(site: Path, name: str, text: str, groups: tuple[str, ...]) -> None:
    """An installed distribution, as pip leaves it: a module, and its metadata beside it."""
    site.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(text)
    info = site / f"{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    points = "".join(f"[vaerecon.{group}]\nall = {name}\n" for group in groups)
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def sounds(tmp_path) -> Path:
    for name in "ab":
        sf.write(tmp_path / f"{name} ü.wav", make_sound(0.4), 16000)
    return tmp_path


@pytest.mark.process
@pytest.mark.slow
def test_packages_and_files_go_through_compare_and_reconstruct(sounds):
    both = METHOD + METRIC.format(name="peak_error", label="Peak error")
    write_package(sounds / "site", "good_plug", both, ("methods", "metrics"))
    write_package(sounds / "site", "bad_plug", METRIC.format(name="half", label="Half")
                  + "raise RuntimeError('too old')", ("metrics",))  # fmt: skip
    mine = sounds / "my plug ü.py"
    mine.write_text(METRIC.format(name="own_error", label="Own error"))
    environment = os.environ | {"PYTHONPATH": str(sounds / "site")}

    options = ["--methods", "hush,griffinlim", "--plugin", str(mine)]
    options += [part for name in ("pesq-wb", "stoi", "estoi", "visqol")
                for part in ("--exclude-metric", name)]  # fmt: skip
    commands = [["compare", "a ü.wav", "b ü.wav", "--output", "t.parquet", "--workers", "2"],
                ["a ü.wav", "--output-dir", "out"]]  # fmt: skip
    code = (
        "import sys; from vaerecon.cli.main import main\n"
        f"for command in {commands}:\n"
        f"    sys.argv = ['vaerecon', *command, *{options}]\n"
        "    main()\n"
        "    print('= the end =')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=sounds, env=environment, text=True,
                          capture_output=True, timeout=LIMIT, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    compared, reconstructed, _ = done.stdout.split("= the end =")
    line = "warning: plug-in of bad_plug: left out, it cannot be loaded (RuntimeError: too old)"
    assert [text for text in done.stderr.splitlines() if "plug" in text] == [line]  # said once
    for word in ("Peak error ↓", "Own error ↓", "Hush"):
        assert word.split()[0] in compared
    table = pd.read_parquet(sounds / "t.parquet")
    assert len(table[table["method"] == "hush"]) == 4
    assert table[["peak_error", "own_error"]].notna().all(axis=None)
    assert "half" not in table
    assert table["notes"].str.contains("plug").sum() == 0
    assert table.attrs["good_plug"] == "1.5"
    assert table.attrs["plugins"] == {mine.name: hashlib.sha256(mine.read_bytes()).hexdigest()}

    analysis = json.loads((sounds / "out" / "a ü_analysis.json").read_text())
    scores = analysis["methods"]["hush"]["metrics"]
    assert scores["peak_error"] == scores["own_error"] > 0
    assert "Own error: looks at one sample" in reconstructed


BAD = {
    "nosuch.py": (None, "expected a Python file"),
    "notes.txt": ("not Python", "expected a Python file"),
    "folder.py": ("FOLDER", "expected a Python file"),
    "grammar.py": ("def", "SyntaxError"),
    "fails.py": ("x = 1\nx.y\n", "'int' object has no attribute 'y', line 2"),
    "leaves.py": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "bytes ü.py": ("\0\udcff", "cannot be loaded"),
    "clash.py": (METRIC.format(name="rmse", label="RMSE"), "got 'rmse', which is registered"),
    "column.py": (METRIC.format(name="clip", label="Clip"), "'clip', which is registered or res"),
    "method.py": (METHOD.replace("hush", "fast"), "got 'fast', which is registered"),
    "direction.py": (METRIC.format(name="new", label="N").replace('"lower"', '"low"'), "best: got"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["compare", "reconstruct"])
def test_a_file_that_cannot_be_loaded_is_one_line_and_status_2(sounds, name, command):
    text, message = BAD[name]
    if text == "FOLDER":
        (sounds / name).mkdir()
    elif text is not None:
        (sounds / name).write_bytes(text.encode(errors="surrogateescape"))
    before, known = sorted(sounds.iterdir()), (list(METRICS), list(METHODS))
    output = ["--output", "t.csv"] if command == "compare" else []
    done = run(command, "a ü.wav", "--plugin", name, *output, cwd=sounds)
    assert done.status == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(sounds.iterdir()) == before
    assert (list(METRICS), list(METHODS)) == known


FAILS = {  # what a metric or a method does, and what is said then
    "metric": ("raise KeyError('key')", "plug-in at fault.py, line 7: KeyError: 'key'"),
    "metric's type": ("return None", "metric own: got None, expected a number"),
    "method": ("raise KeyError('key')", "plug-in at fault.py, line 6: KeyError: 'key'"),
    "method's type": ("return None", "own: got NoneType, expected a tensor of 2560 samples"),
}


@pytest.mark.parametrize("kind", FAILS)
def test_a_plug_in_that_fails_at_its_work_is_one_line(sounds, kind):
    does, message = FAILS[kind]
    of_metric = kind.startswith("metric")
    text = METRIC.format(name="own", label="Own") if of_metric else METHOD.replace("hush", "own")
    (sounds / "at fault.py").write_text(text.replace("):\n", f"):\n    {does}\n"))
    options = ["--plugin", "at fault.py", "--methods", "griffinlim" if of_metric else "own"]
    try:
        done = run("a ü.wav", *options, "--output-dir", "out", cwd=sounds)
        table = run("compare", "a ü.wav", *options, "--output", "t.csv", cwd=sounds)
    finally:
        del (METRICS if of_metric else METHODS)["own"]
    assert (done.status, done.stderr) == (2, f"error: {message}\n")
    assert not (sounds / "out").exists()
    assert table.status == 1
    assert f"a ü.wav: {message}" in table.stdout


@pytest.fixture
def loaded(tmp_path):
    """A plug-in file that is loaded in this process until the test ends."""
    path = tmp_path / "mine.py"
    path.write_text(METRIC.format(name="own_error", label="Own error") + "raise OSError")
    with pytest.raises(ValueError, match=r"mine\.py cannot be loaded"):
        vr.load_plugin(path)
    assert "own_error" not in METRICS  # no half of it stays
    path.write_text(METRIC.format(name="own_error", label="Own error"))
    for _ in range(2):  # the second time is none
        vr.load_plugin(path)
    yield path
    del METRICS["own_error"]


def test_a_run_does_not_go_on_with_a_plug_in_that_was_changed(loaded, sounds):
    from vaerecon.comparison.measure import Task

    def record() -> dict:
        task = Task(methods=(), max_length=None, seed=0, metrics=(), exclude_metrics=(), threads=1)
        return task.to_record({"versions": {}})["plugins"]

    before = record()
    assert list(before) == ["mine.py"]  # no path
    plugins.files[str(loaded)] = "of another text"
    assert record() != before


@pytest.mark.process
def test_a_notebook_that_is_run_from_here_has_the_plug_in(loaded, tmp_path):
    from vaerecon.lab.reports.runs import execute

    cell = nbformat.v4.new_code_cell("from vaerecon import metrics\nmetrics.METRICS['own_error']")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
    assert execute(tmp_path / "one.ipynb", timeout=LIMIT).failure is None
    assert plugins.VARIABLE not in os.environ
