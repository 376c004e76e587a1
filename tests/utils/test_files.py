"""Results are written whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from helpers.system import LIMIT, small_disk

from vaerecon.utils.files import whole_file, whole_folder


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_new_folder_appears_with_all_its_files(tmp_path):
    target = tmp_path / "deep" / "results"
    with whole_folder(target) as scratch:
        (scratch / "a.txt").write_text("a")
        (scratch / "b.txt").write_text("b")
        assert not target.exists()
    assert names(target) == ["a.txt", "b.txt"]
    assert names(target.parent) == ["results"]  # no scratch left beside it


def test_an_existing_folder_keeps_its_other_files(tmp_path):
    (tmp_path / "other.txt").write_text("other")
    (tmp_path / "a.txt").write_text("old")
    with whole_folder(tmp_path) as scratch:
        (scratch / "a.txt").write_text("new")
    assert names(tmp_path) == ["a.txt", "other.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path, error):
    old, new = tmp_path / "old", tmp_path / "deep" / "new"
    old.mkdir()
    (old / "a.txt").write_text("old")
    for target in (old, new):
        with pytest.raises(error), whole_folder(target) as scratch:
            (scratch / "a.txt").write_text("half")
            raise error
    assert (old / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["old"]  # not even the parents of the new one
    assert names(old) == ["a.txt"]


def test_a_failing_move_puts_the_old_files_back(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old a")
    (tmp_path / "b.txt").write_text("old b")
    real = os.replace

    def failing(source, target):  # the disk fails just when b.txt is to be moved in
        if os.path.basename(target) == "b.txt" and "new" in os.fspath(source):
            raise OSError("disk failure")
        real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="disk failure"), whole_folder(tmp_path) as scratch:
        for name in ("a.txt", "b.txt", "c.txt"):
            (scratch / name).write_text("new")
    assert names(tmp_path) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == "old a"
    assert (tmp_path / "b.txt").read_text() == "old b"


def test_files_of_an_earlier_run_go_with_the_replaced_ones_or_stay_with_them(tmp_path, monkeypatch):
    for name in ("a.txt", "gone.txt", "other.txt"):
        (tmp_path / name).write_text("old")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}

    def earlier(folder):
        return ["a.txt", "gone.txt", "never.txt"]

    real = os.replace

    def failing(source, target):  # the last move, of what is to go
        if os.path.basename(source) == "gone.txt" and "old" in os.fspath(target):
            raise OSError("disk failure")
        real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="disk failure"), whole_folder(tmp_path, earlier) as scratch:
        (scratch / "a.txt").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    monkeypatch.setattr(os, "replace", real)
    with whole_folder(tmp_path, earlier) as scratch:
        (scratch / "a.txt").write_text("new")
    assert names(tmp_path) == ["a.txt", "other.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "results").write_text("a file")
    with (
        pytest.raises(NotADirectoryError, match=r"results.*is a file"),
        whole_folder(tmp_path / "results"),
    ):
        pass


def test_one_whole_file(tmp_path):
    with whole_file(tmp_path / "table.csv") as path:
        path.write_text("a,b")
        assert not (tmp_path / "table.csv").exists()
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.process
@pytest.mark.fault
def test_a_full_disk_leaves_the_earlier_result(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "size=256k"):
        (disk / "a.txt").write_text("old")
        with pytest.raises(OSError, match="No space left"), whole_folder(disk) as scratch:
            (scratch / "a.txt").write_bytes(b"x" * 10**6)
        assert names(disk) == ["a.txt"]
        assert (disk / "a.txt").read_text() == "old"


@pytest.mark.process
@pytest.mark.fault
def test_sigterm_during_the_write_leaves_nothing(tmp_path):
    """The command line turns SIGTERM into an ordinary unwinding, so that nothing is left over."""
    code = (
        "import sys, time\n"
        "from vaerecon.utils.console import unwind_on_signals\n"
        "from vaerecon.utils.files import whole_folder\n"
        "unwind_on_signals()\n"
        "with whole_folder(sys.argv[1]) as scratch:\n"
        "    (scratch / 'a.txt').write_text('half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(100_000)\n"
    )
    target = tmp_path / "results"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=LIMIT) != 0
    assert names(tmp_path) == []
