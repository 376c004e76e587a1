"""``vaerecon lab``: a copy of the notebooks, which keeps what was changed, and JupyterLab."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.in_process import run
from helpers.system import LIMIT

from vaerecon.lab.reports.shipped import shipped_files

CHANGED = ("03_vocoder_dimension_fix.ipynb", "baselines/00_overview.json")


def test_a_copy_keeps_what_was_changed_and_says_which(tmp_path):
    args = ["lab", "my notebooks ü", "--copy-only"]
    done = run(*args, cwd=tmp_path)
    assert (done.status, done.stdout) == (0, "Notebooks: my notebooks ü\n")
    copy, source = tmp_path / "my notebooks ü", shipped_files()
    names = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    assert names == set(source)
    assert len([name for name in names if name.endswith(".ipynb")]) > 10
    for name in CHANGED:
        (copy / name).write_text("mine")
    (copy / "00_overview.ipynb").unlink()
    (copy / "baselines" / "own.json").write_text("mine")
    done = run(*args, cwd=tmp_path)
    assert done.status == 0
    assert done.stdout.splitlines()[1].endswith(f": {', '.join(CHANGED)}")
    assert [(copy / name).read_text() for name in CHANGED] == ["mine", "mine"]
    assert (copy / "00_overview.ipynb").exists()
    assert run(*args, "--overwrite", cwd=tmp_path).status == 0
    assert all((copy / name).read_bytes() == path.read_bytes() for name, path in source.items())
    assert (copy / "baselines" / "own.json").exists()


def test_a_file_in_its_place_and_no_jupyterlab_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    done = run("lab", "taken", "--copy-only", cwd=tmp_path)
    assert done.status == 2
    assert "got 'taken', which is a file" in done.stderr
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    done = run("lab", cwd=tmp_path)
    assert done.status == 2
    assert "jupyterlab is not installed" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.needs("jupyterlab")
@pytest.mark.process
def test_jupyterlab_opens_in_the_copy(tmp_path: Path):
    (tmp_path / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HOME")
    environment = os.environ | dict.fromkeys(names, str(tmp_path))
    command = [sys.executable, "-m", "vaerecon", "lab", "my copy", "--no-browser"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, text=True) as process:  # fmt: skip
        watch = threading.Timer(LIMIT, process.kill)
        watch.start()
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if "/lab?token=" in line:
                    break
        finally:
            watch.cancel()
            process.kill()
    assert f"local directory: {tmp_path / 'my copy'}" in "".join(said)
