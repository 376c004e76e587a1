"""Many clips to one table: the same numbers by every road, and nothing lost on any of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile as sf
import torch
from helpers import in_process
from helpers.checkpoints import save_small
from helpers.sounds import make_sound
from helpers.system import LIMIT, run_as_user, small_disk, wait_for
from helpers.worker_tasks import die, ready, work

import vaerecon as vr
from vaerecon.comparison import cluster as clusters
from vaerecon.comparison.clips import SoundFile, find_clips, make_batches
from vaerecon.comparison.journal import Journal, journal_path, open_journal
from vaerecon.comparison.table import summarize
from vaerecon.comparison.workers import Processes, ThisProcess, run_batches
from vaerecon.metrics.scores import METRICS

SLOW = ("pesq_wb", "stoi", "estoi", "visqol")
QUICK = {"methods": "griffinlim", "exclude_metrics": SLOW}
QUICK_OPTIONS = ["--methods", "griffinlim"]
QUICK_OPTIONS += [part for name in SLOW for part in ("--exclude-metric", name.replace("_", "-"))]
CLOCK = ["seconds", "real_time_factor"]  # the only columns that may differ between two runs
N_CLIPS = 12


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Twelve sounds of 0.2 to 0.75 s, one file that is none, and one that is not for us."""
    path = tmp_path_factory.mktemp("sounds") / "clips"
    (path / "more").mkdir(parents=True)
    for i in range(N_CLIPS):
        name = f"clip {i:02}.wav" if i % 3 else f"more/clip {i:02}.flac"
        sf.write(path / name, make_sound(0.2 + 0.05 * i, seed=i), 16000)
    (path / "broken.wav").write_text("no sound at all\n")
    (path / "README.txt").write_text("about these sounds\n")
    return path


@pytest.fixture(scope="session")
def table(folder) -> pd.DataFrame:
    """Measured in this process, one clip after the other."""
    return vr.compare(folder, workers=1, **QUICK)


def assert_same_numbers(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        one.drop(columns=CLOCK), other.drop(columns=CLOCK), check_exact=True
    )


def start(*args, cwd, **options) -> subprocess.Popen:
    # a shell's background job ignores Ctrl-C, and so would what it starts
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from vaerecon.cli.main import main; main()"
    command = [sys.executable, "-c", code, "compare", *map(str, args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, **pipes, **options)


def finished(output: Path) -> list[dict]:
    """The clips that the journal has, the settings left out, as another program reads them."""
    if not journal_path(output).exists():
        return []
    with tempfile.TemporaryDirectory() as folder:  # a copy, since the run locks its own
        for path in output.parent.glob(f"{journal_path(output).name}*"):
            with contextlib.suppress(FileNotFoundError):  # SQLite's own journal comes and goes
                shutil.copy(path, folder)
        with contextlib.closing(sqlite3.connect(Path(folder) / journal_path(output).name)) as copy:
            try:
                rows = copy.execute("SELECT text FROM entries ORDER BY rowid").fetchall()
            except sqlite3.DatabaseError:  # not begun yet, or copied between two of its writes
                return []
    return [json.loads(text) for (text,) in rows[1:]]


@contextlib.contextmanager
def held_in_mid_run(process: subprocess.Popen, output: Path, clips: int = 1):
    """The process of a run stands still after so many clips or a few more, and goes on at the end.

    However slow or quick the machine is, there is something left to do.
    """
    wait_for(lambda: len(finished(output)) >= clips or process.poll() is not None)
    process.send_signal(signal.SIGSTOP)
    try:
        assert process.poll() is None, process.communicate()
        assert len(finished(output)) < N_CLIPS + 1, "nothing is left to do"
        yield
    finally:
        process.send_signal(signal.SIGCONT)


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_table_says_what_the_pipeline_says_of_each_clip(tiny, folder, table):
    assert list(table["file"].unique()) == [
        "broken.wav",
        *(f"clip {i:02}.wav" for i in range(N_CLIPS) if i % 3),
        *(f"more/clip {i:02}.flac" for i in range(0, N_CLIPS, 3)),
    ]
    clip = vr.load_audio(folder / "more" / "clip 03.flac")
    torch.set_num_threads(1)
    findings = tiny(clip, "griffinlim", exclude_metrics=SLOW)
    rows = table[table["file"] == "more/clip 03.flac"]
    assert list(zip(rows["method"], rows["through_vae"], strict=True)) == [
        ("griffinlim", True), ("griffinlim", False), ("silence", True), ("silence", False),
    ]  # fmt: skip
    for _, row in rows.iterrows():
        group = findings.methods if row["through_vae"] else findings.without_vae
        found = group[row["method"]]
        for name, value in found.scores.items():
            assert row[name] == value if value is not None else np.isnan(row[name])
            assert (value is None) == (f"{name}: " in row["notes"])
        assert (row["gain"], row["lag_samples"]) == (found.gain, found.lag)
        assert row["real_time_factor"] == row["seconds"] / row["duration_s"]
    analysis = findings.analysis("x")
    first = rows.iloc[0]
    assert first["sha256"] == analysis["clip"]["sha256"]
    assert first["duration_s"] == analysis["clip"]["duration_s"]
    assert first["vae_mae_nepers"] == analysis["mel"]["vae_mae_nepers"]
    for name, value in analysis["model"].items():
        assert first[name] == value if value is not None else pd.isna(first[name])


@pytest.mark.process
def test_a_bad_file_is_one_row_with_its_reason(folder, table):
    (row,) = (row for _, row in table.iterrows() if not pd.isna(row["error"]))
    assert (row["file"], row["clip"]) == ("broken.wav", "broken")
    assert "expected a sound file" in row["error"]
    assert str(folder) not in row["error"]
    assert row[["method", "through_vae", *METRICS, *CLOCK]].isna().all()
    assert len(table) == 4 * N_CLIPS + 1


@pytest.mark.process
def test_only_through_the_vae(folder, table):
    short = vr.compare(folder, workers=1, without_vae=False, **QUICK)
    assert_same_numbers(short, table[table["through_vae"].fillna(True)].reset_index(drop=True))


@pytest.mark.process
def test_means_are_over_the_clips_that_have_a_value(table):
    means = summarize(table)
    assert list(means.index) == [
        (through, name) for through in (True, False) for name in ("griffinlim", "silence")
    ]
    some = table[(table["method"] == "griffinlim") & table["through_vae"]]
    assert means.loc[(True, "griffinlim"), ("lsd_db", "mean")] == pytest.approx(
        sum(some["lsd_db"]) / N_CLIPS
    )
    assert means.loc[(True, "griffinlim"), ("lsd_db", "count")] == N_CLIPS
    assert means.loc[(True, "griffinlim"), ("visqol", "count")] == 0
    assert means.loc[(True, "silence"), ("si_sdr_db", "count")] == 0


@pytest.mark.needs("visqol")
@pytest.mark.process
def test_one_process_and_two_give_the_same_bits_with_every_metric(tmp_path):
    """As a user runs it. ViSQOL starts threads, which once changed what torch computed next.

    With variables for threads: ``test_the_order_and_company_of_methods_change_no_bit``.
    """
    (tmp_path / "clips").mkdir()
    for seed in range(2):
        write_sound(tmp_path / "clips" / f"{seed}.wav", 1.2, seed)
    (tmp_path / "script.py").write_text(
        "import vaerecon as vr\n"
        "if __name__ == '__main__':\n"
        "    for n in (1, 2):\n"
        "        vr.compare('clips', methods='vocoder', workers=n, output=f'{n}.parquet')\n"
    )
    done = run_as_user([sys.executable, "script.py"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = [pd.read_parquet(tmp_path / f"{n}.parquet") for n in (1, 2)]
    assert (tables[0]["visqol"] > 1).sum() == 4
    assert_same_numbers(*tables)


def test_no_more_threads_than_asked_for_and_as_many_as_before_afterwards(folder, monkeypatch):
    from vaerecon.comparison import measure as measuring

    seen = []
    real = measuring._reconstruct

    def counted(*args):
        seen.append(torch.get_num_threads())
        return real(*args)

    monkeypatch.setattr(measuring, "_reconstruct", counted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        vr.compare(folder / "clip 01.wav", workers=1, threads=2, **QUICK)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [2]


@pytest.mark.slow
def test_a_long_clip_takes_the_road_through_files_to_the_same_numbers(tmp_path, monkeypatch):
    from vaerecon.comparison import measure as measuring

    sf.write(tmp_path / "long.wav", make_sound(3.0), 16000)
    whole = vr.compare(tmp_path, workers=1, **QUICK)
    monkeypatch.setattr(measuring, "IN_MEMORY", 2)
    assert_same_numbers(vr.compare(tmp_path, workers=1, **QUICK), whole)


# --- which clips, in what portions ----------------------------------------------------------------


def test_folders_are_searched_and_hidden_files_left_out(tmp_path):
    for name in ("b.wav", "a.FLAC", "sub/c.mp3", "sub/.d.wav", ".trash/e.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    files = find_clips([tmp_path / "sub", tmp_path, tmp_path / "notes.txt"])
    assert [file.key for file in files] == ["sub/c.mp3", "a.FLAC", "b.wav", "notes.txt"]
    assert all(os.path.isabs(file.path) for file in files)


def test_clips_of_the_same_name_are_told_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sf.write(tmp_path / name / "x.wav", make_sound(0.1), 16000)
    keys = [file.key for file in find_clips([tmp_path / "one", tmp_path / "two"])]
    assert keys == ["one/x.wav", "two/x.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are text")
def test_a_name_that_is_no_text(tmp_path):
    strange = os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x8e\xb5.wav"
    shutil.copy(write_sound(tmp_path / "x.wav"), os.fsdecode(strange))
    found = vr.compare(os.fsdecode(strange), output=tmp_path / "t.parquet", workers=1, **QUICK)
    assert found["error"].isna().all()
    (name,) = set(pd.read_parquet(tmp_path / "t.parquet")["file"])
    assert name == "caf\\udce9 \N{MUSICAL NOTE}.wav"


def write_sound(path: Path, seconds: float = 0.2, seed: int = 0) -> Path:
    sf.write(path, make_sound(seconds, seed), 16000)
    return path


@pytest.mark.parametrize("width", [1, 2, 7])
def test_batches_hold_every_clip_once_the_longest_first(width):
    rng = np.random.default_rng(width)
    files = [SoundFile(str(i), "", 0, 0, float(rng.choice([0, 0.3, 2, 40]))) for i in range(200)]
    batches = make_batches(files, width)
    flat = [file for batch in batches for file in batch]
    assert sorted(file.key for file in flat) == sorted(file.key for file in files)
    assert all(a.seconds >= b.seconds for a, b in itertools.pairwise(flat))
    assert max(map(len, batches)) == (1 if width == 1 else 20)  # short ones go together
    assert len(batches) >= 4 * width


def test_no_batch_of_nothing():
    assert make_batches([], 3) == []
    empty = SoundFile("empty.wav", "", 0, 0, 0.0)
    assert make_batches([empty], 1) == [[empty]]


# --- input that cannot be -------------------------------------------------------------------------

BAD = {
    "a missing clip": ({"clips": "nosuch.wav"}, "there is none"),
    "a folder without sound": ({"clips": "silent"}, "without any sound"),
    "no clips": ({"clips": []}, "without any sound"),
    "a table of another kind": ({"output": "t.xlsx"}, "expected the name of a .parquet or .csv"),
    "a folder for a table": ({"output": "folder.csv"}, "expected the name of a"),
    "a model's typo": ({"model": "musik"}, "did you mean 'music'"),
    "a method's typo": ({"methods": "grifinlim"}, "did you mean 'griffinlim'"),
    "a metric's typo": ({"exclude_metrics": ["pesk"]}, "got \\['pesk'\\]"),
    "no length": ({"max_length": 0}, "max_length: got 0"),
    "negative workers": ({"workers": -1}, "workers: got -1"),
    "no threads": ({"threads": 0}, "threads: got 0"),
    "workers of two kinds": ({"workers": 2, "scheduler": "tcp://x:1"}, "workers of its own"),
    "nothing to resume": ({"resume": True}, "got no output"),
    "a table that exists": ({"output": "old.csv"}, "exists and is complete"),
    "resuming a table that exists": (
        {"output": "old.csv", "resume": True},
        "exists and is no table",
    ),
    "sounds among the clips": (
        {"keep_sounds": "clips/x", "clips": "clips"},
        "is in a folder of clips",
    ),
    "a file for sounds": (
        {"keep_sounds": "old.csv"},
        "keep_sounds: got 'old.csv', which is a file",
    ),
    "no models": ({"model": []}, "model: got none"),
    "one of two models' typo": ({"model": ["tiny", "musik"]}, "did you mean 'music'"),
    "no domains": ({"domains": "nosuch.csv"}, "domains: cannot read 'nosuch.csv'"),
    "domains without columns": ({"domains": "old.csv"}, "expected file and domain"),
    "no clips at most": ({"max_clips": 0}, "max_clips: got 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_nothing_written(tmp_path, folder, monkeypatch, case):
    for name in ("silent", "folder.csv"):
        (tmp_path / name).mkdir()
    (tmp_path / "old.csv").write_text("old")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    options, message = BAD[case]
    with pytest.raises((ValueError, OSError), match=message):
        vr.compare(**{"clips": folder, **options})
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "old.csv").read_text() == "old"


@pytest.mark.slow
def test_a_cluster_without_distributed_and_without_a_scheduler(folder, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(clusters, "CONNECT", 1)
    with pytest.raises(OSError, match="nothing answers at"):
        vr.compare(folder, scheduler=address, **QUICK)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match="`pip install distributed`, here and on every worker"):
        vr.compare(folder, scheduler=address, **QUICK)


@pytest.mark.process
def test_a_method_that_worker_processes_do_not_know(folder):
    from vaerecon import methods

    methods.method("mine", "Mine", "registered here only")(methods.METHODS["silence"].function)
    try:
        assert set(vr.compare(folder / "clip 01.wav", methods="mine", workers=1,
                              exclude_metrics=SLOW)["method"]) == {"mine", "silence"}  # fmt: skip
        with pytest.raises(ValueError, match=r"got 'mine'.*use workers=1"):
            vr.compare(folder, methods="mine", workers=2)
    finally:
        del methods.METHODS["mine"]


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.process
def test_the_command_prints_means_and_failures(folder, tmp_path, table):
    args = ["--output", "t.csv", "--workers", "1", *QUICK_OPTIONS]
    done = in_process.run("compare", folder, *args, cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert f"{N_CLIPS} of {N_CLIPS + 1} clips measured" in done.stdout
    value = summarize(table).loc[(True, "griffinlim"), ("lsd_db", "mean")]
    assert re.search(rf"Griffin-Lim +yes .*{value:.2f}", done.stdout)
    assert "1 failed:\n  broken.wav: got 'broken.wav'" in done.stdout
    read = pd.read_csv(tmp_path / "t.csv")
    assert len(read) == len(table)
    np.testing.assert_array_equal(read["lsd_db"], table["lsd_db"])
    again = in_process.run("compare", folder, "--output", "t.csv", cwd=tmp_path)
    assert again.status == 2
    assert again.stderr.startswith("error: output: got 't.csv', which exists")
    assert "Traceback" not in again.stderr


@pytest.mark.process
def test_status_1_if_nothing_could_be_measured(folder, tmp_path):
    args = ["--output", "t.parquet", "--workers", "1", *QUICK_OPTIONS]
    done = in_process.run("compare", folder / "broken.wav", *args, cwd=tmp_path)
    assert done.status == 1, done.stderr
    assert "none of the clips could be measured" in done.stderr
    assert pd.read_parquet(tmp_path / "t.parquet")["error"].notna().all()


# --- kills, and going on --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1), (signal.SIGINT, 2)]
)
@pytest.mark.process
@pytest.mark.fault
def test_a_run_that_is_ended_at_a_random_moment_goes_on(folder, table, tmp_path, number, workers):
    output = tmp_path / "t.parquet"
    process = start(folder, "--output", output, "--workers", workers, *QUICK_OPTIONS, cwd=tmp_path)
    clips = int(np.random.default_rng().integers(1, 7))
    with held_in_mid_run(process, output, clips):
        before = finished(output)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == (-number if number == signal.SIGKILL else 130), err
    gone, alive = psutil.wait_procs(family, timeout=LIMIT)
    assert gone or workers == 1
    assert not alive  # no worker waits for work that will never come
    assert not output.exists()
    assert {p.name.removesuffix("-journal") for p in tmp_path.iterdir()} == {
        journal_path(output).name  # and, after a kill, what SQLite needs to undo half a write
    }
    if number != signal.SIGKILL:
        assert "--resume goes on with it" in err
        assert "Traceback" not in err
    kept = finished(output)
    assert kept[: len(before)] == before
    assert len(kept) < N_CLIPS + 1

    found = vr.compare(folder, output=output, resume=True, workers=1, **QUICK)
    assert_same_numbers(found, table)
    for entry in kept:  # not done again, or it would have taken another time
        rows = found[found["file"] == entry["file"]]
        assert list(rows["seconds"].dropna()) == [row["seconds"] for row in entry["rows"]]
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


@pytest.mark.process
def test_a_finished_run_s_journal_is_turned_into_its_table(folder, table, tmp_path):
    """Killed between the last clip and the table: nothing is measured again."""
    output = tmp_path / "t.csv"
    with pytest.raises(OSError, match="cannot write"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaerecon.comparison.run.write_table", refuse)
        vr.compare(folder, output=output, workers=1, **QUICK)
    kept = finished(output)
    assert len(kept) == N_CLIPS + 1
    found = vr.compare(folder, output=output, resume=True, workers=1, **QUICK)
    assert_same_numbers(found, table)
    assert list(found["seconds"].dropna()) == [
        row["seconds"]
        for file in table["file"].unique()
        for entry in kept
        if entry["file"] == file
        for row in entry["rows"]
    ]


def refuse(*args):
    raise OSError("cannot write")


@pytest.fixture(scope="module")
def ended(folder, tmp_path_factory) -> Path:
    """A folder where a run over two clips was ended before its table was written."""
    path = tmp_path_factory.mktemp("ended")
    for name in ("clip 01.wav", "clip 02.wav"):
        shutil.copy(folder / name, path)
    with pytest.raises(OSError, match="cannot write"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaerecon.comparison.run.write_table", refuse)
        vr.compare(path, output=path / "t.parquet", workers=1, **QUICK)
    return path


@pytest.fixture
def unfinished(ended, tmp_path) -> Path:
    """The table that such a run was to write, in a folder for one test."""
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)  # times of the files are kept
    return tmp_path / "t.parquet"


OTHER = {
    "seed": {"seed": 1},
    "methods": {"methods": "vocoder"},
    "exclude_metrics": {"exclude_metrics": []},
    "max_length": {"max_length": 0.1},
    "without_vae": {"without_vae": False},
    "dtype": {"dtype": "bfloat16"},
    "threads": {"threads": 2},
}


@pytest.mark.parametrize("name", OTHER)
def test_other_settings_do_not_mix(unfinished, name):
    before = journal_path(unfinished).read_bytes()
    with pytest.raises(ValueError, match=f"begun with other settings .*{name} was"):
        vr.compare(unfinished.parent, output=unfinished, resume=True, workers=1,
                   **QUICK | OTHER[name])  # fmt: skip
    assert journal_path(unfinished).read_bytes() == before


def test_unfinished_results_are_not_forgotten_by_mistake(unfinished):
    before = journal_path(unfinished).read_bytes()
    with pytest.raises(ValueError, match="--resume to go on with it or --overwrite"):
        vr.compare(unfinished.parent, output=unfinished, workers=1, **QUICK)
    assert journal_path(unfinished).read_bytes() == before
    vr.compare(unfinished.parent, output=unfinished, overwrite=True, workers=1,
               **QUICK | {"seed": 5})  # fmt: skip
    assert set(pd.read_parquet(unfinished)["seed"]) == {5}
    assert not journal_path(unfinished).exists()


def test_a_clip_that_has_changed_is_done_again_and_one_that_is_gone_is_left_out(unfinished):
    folder = unfinished.parent
    write_sound(folder / "clip 01.wav", 0.3, seed=77)
    write_sound(folder / "new.wav")
    (folder / "clip 02.wav").unlink()
    found = vr.compare(folder, output=unfinished, resume=True, workers=1, **QUICK)
    assert list(found["file"].unique()) == ["clip 01.wav", "new.wav"]
    fresh = vr.compare(folder, workers=1, **QUICK)
    assert_same_numbers(found, fresh)


def test_a_damaged_journal_is_named(unfinished):
    path = journal_path(unfinished)
    path.write_bytes(b"not SQLite" + path.read_bytes()[10:])
    with pytest.raises(ValueError, match=f"{path.name}.* is damaged .*; delete it and start again"):
        vr.compare(unfinished.parent, output=unfinished, resume=True, workers=1, **QUICK)


def test_a_kill_before_anything_was_written(unfinished):
    journal_path(unfinished).write_bytes(b"")
    found = vr.compare(unfinished.parent, output=unfinished, resume=True, workers=1, **QUICK)
    assert len(found) == 8


@pytest.mark.process
@pytest.mark.fault
def test_a_write_that_was_cut_short_by_a_kill_is_undone(unfinished):
    """Half of a transaction is in the database, and SQLite's own journal tells how to undo it."""
    path = journal_path(unfinished)
    code = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1])\n"
        "db.execute('PRAGMA cache_size = 1')\n"
        "db.execute('BEGIN')\n"
        "db.executemany('INSERT INTO entries VALUES (?)', [('half' * 2000,)] * 50)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, path])
    assert path.with_name(path.name + "-journal").exists()
    found = vr.compare(unfinished.parent, output=unfinished, resume=True, workers=1, **QUICK)
    assert len(found) == 8
    assert not list(unfinished.parent.glob(f"{path.name}*"))


def test_two_runs_for_one_table_do_not_mix(unfinished):
    before = journal_path(unfinished).read_bytes()
    with contextlib.closing(sqlite3.connect(journal_path(unfinished))) as database:
        (text,) = database.execute("SELECT text FROM entries").fetchone()
    settings = {k: v for k, v in json.loads(text).items() if k != "format"}
    with open_journal(unfinished, settings, resume=True):
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(ValueError, match="another run is writing"):
                vr.compare(unfinished.parent, output=unfinished, workers=1, **QUICK, **options)
    assert journal_path(unfinished).read_bytes() == before


def test_a_journal_of_nothing_is_deleted(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_journal(tmp_path / "t.csv", {"a": 1}):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.fault
def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(folder, table, tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "size=160k"):
        (disk / "other").write_bytes(b"x" * 135_000)
        output = disk / "t.csv"
        with pytest.raises(OSError, match=r"disk is full|No space left"):
            vr.compare(folder, output=output, workers=1, **QUICK)
        assert not output.exists()
        kept = finished(output)
        assert 0 < len(kept) < N_CLIPS + 1
        (disk / "other").unlink()
        found = vr.compare(folder, output=output, resume=True, workers=1, **QUICK)
        assert_same_numbers(found, table)
        assert kept[0]["rows"][0]["seconds"] in set(found["seconds"])


# --- workers that die -----------------------------------------------------------------------------


def numbered(start: int, stop: int) -> list[str]:
    return [f"item {i}" for i in range(start, stop)]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.process
@pytest.mark.fault
def test_an_item_that_kills_its_process_is_given_up_and_no_other(tmp_path, width):
    (tmp_path / "first try").touch()
    once = f"once {tmp_path / 'first try'}"
    batches = [numbered(0, 5), [*numbered(5, 7), "kill", "item 7"], [once], numbered(8, 12)]
    with Processes(width) as team:
        assert team.start(ready) != os.getpid()
        ends = list(run_batches(team, work, batches, ready))
    lost = [batch for batch, result in ends if result is None]
    assert lost == [["kill"]]
    done = sorted(item for _, result in ends if result is not None for item in result)
    assert done == sorted(name.upper() for name in [*numbered(0, 12), once])


@pytest.mark.process
def test_an_error_of_the_function_ends_the_run():
    with Processes(2) as team, pytest.raises(RuntimeError, match="an error of the function"):
        list(run_batches(team, work, [["raise"], numbered(0, 3)], ready))
    with ThisProcess() as team, pytest.raises(RuntimeError, match="an error of the function"):
        list(run_batches(team, work, [["raise"]], ready))


@pytest.mark.process
@pytest.mark.fault
def test_processes_that_cannot_even_begin_are_not_started_for_ever():
    with Processes(2) as team, pytest.raises(OSError, match="died before it had any clip"):
        team.start(die)


@pytest.mark.process
@pytest.mark.fault
def test_leaving_in_a_hurry_does_not_wait_for_what_runs():
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Processes(1) as team:
        team.start(ready)
        wait_for(team.executor.submit(time.sleep, 3 * LIMIT).running)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 2 * LIMIT


@pytest.mark.process
@pytest.mark.fault
def test_a_worker_that_is_killed_in_mid_run_costs_nothing(folder, table, monkeypatch):
    """So late that one new process does what is left."""

    def kill() -> None:
        children = psutil.Process().children()
        [*_, victim] = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        victim.kill()

    call_after(N_CLIPS - 2, kill, monkeypatch)
    assert_same_numbers(vr.compare(folder, workers=2, **QUICK), table)


def call_after(clips: int, act: Callable[[], None], monkeypatch) -> None:
    """Call ``act`` once, as soon as a run in this process has finished so many clips."""
    done, add = [], Journal.add

    def counted(self, entries):
        before = len(done)
        done.extend(entries)
        add(self, done[before:])
        if before < clips <= len(done):
            act()

    monkeypatch.setattr(Journal, "add", counted)


# --- a cluster ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Dask scheduler and two workers, as people start them; (address, worker processes).

    One worker is left after the test that kills one, and serves the next.
    """
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    processes, folder = [], tmp_path_factory.mktemp("dask")

    def dask(*args: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *args]
        with (folder / f"{len(processes)}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder,
                                       env=environment)  # fmt: skip
        processes.append(process)
        return process

    where = folder / "scheduler.json"
    dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(where))  # fmt: skip
    try:
        wait_for(lambda: where.exists() and where.read_text().endswith("}"))
        address = json.loads(where.read_text())["address"]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
        members = [dask("worker", address, *options) for _ in range(2)]
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=LIMIT)
        yield address, members
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.needs("distributed")
@pytest.mark.process
@pytest.mark.fault
@pytest.mark.slow  # as the next test, so that they run one after the other, with one cluster
def test_a_dask_cluster_that_loses_a_worker_in_mid_run(cluster, folder, table, monkeypatch):
    address, members = cluster
    call_after(1, members[0].kill, monkeypatch)
    assert_same_numbers(vr.compare(folder, scheduler=address, **QUICK), table)
    assert members[0].wait(timeout=LIMIT) == -signal.SIGKILL
    assert members[1].poll() is None  # the cluster is left as it was


@pytest.mark.needs("distributed")
@pytest.mark.process
@pytest.mark.slow
def test_a_dask_cluster_loads_plug_in_files_keeps_sounds_and_evaluates(cluster, folder, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import vaerecon as vr\n"
        "@vr.metrics.metric('constant', 'Constant', best='higher', range='0..1', perfect=1.0,\n"
        "                   caveat='none')\n"
        "def constant(reference, estimate): return 0.5\n"
    )
    vr.load_plugin(path)
    try:
        table = vr.compare(folder, scheduler=cluster[0], keep_sounds=tmp_path / "kept", **QUICK)
        kept = find_clips(tmp_path / "kept")
        finished = vr.evaluate_files(kept[0].path, kept[0].path, scheduler=cluster[0],
                                     metrics=["lsd_db", "constant"])  # fmt: skip
    finally:
        del METRICS["constant"]
    measured = table.dropna(subset="method")
    assert (measured["constant"] == 0.5).all()
    assert len(measured)
    assert {Path(name).name for name in table["sound"].dropna()} < {Path(f.path).name for f in kept}
    assert (finished["lsd_db"][0], finished["constant"][0]) == (0, 0.5)


# --- hundreds of clips ----------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.slow
def test_memory_after_200_clips_is_as_after_50(tmp_path, monkeypatch):
    """In one process; one bad file among them is one row."""
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    rng = np.random.default_rng(0)
    for i in range(200):
        write_sound(sounds / f"{i:03}.wav", float(rng.uniform(0.1, 0.3)), seed=i)
    (sounds / "100.wav").write_bytes(b"RIFF and then nothing of the kind")

    memory, add = [], Journal.add

    def watched(self, entries):
        add(self, entries)
        memory.append(psutil.Process().memory_info().rss)

    monkeypatch.setattr(Journal, "add", watched)
    table = vr.compare(sounds, str(save_small(tmp_path / "model")), without_vae=False, workers=1,
                       output=tmp_path / "t.parquet", **QUICK)  # fmt: skip
    assert len(memory) == 200
    assert memory[-1] <= 1.03 * memory[49]
    assert len(table) == 2 * 199 + 1
    assert list(table["file"][table["error"].notna()]) == ["100.wav"]
