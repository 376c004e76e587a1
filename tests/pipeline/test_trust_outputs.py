"""What is on the disk when something goes wrong at a random moment: the old result or the new one.

Commands are interrupted by real signals at seeded random moments of a whole run, in forked
processes (``zygote.py``); disks are full, or read-only; two runs write into one folder at once.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import nbformat
import pytest
import soundfile as sf
from helpers.system import LIMIT, small_disk
from helpers.zygote import request
from nbformat.v4 import new_code_cell, new_notebook

from vaerecon.utils import files as outputs
from vaerecon.utils.files import whole_file, whole_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks are POSIX's")

QUICK = ["--exclude-metric", "visqol", "--exclude-metric", "pesq-wb", "--methods", "griffinlim"]
COMMANDS = {  # name -> arguments, and what it writes; run in a folder made by `workplace`
    "reconstruct": (["song.wav", "--output-dir", "out", *QUICK], ["out"]),
    "check": (["check", "--update"], ["reports", "tests"]),
    "compare": (
        [
            "compare",
            "song.wav",
            "--output",
            "table.csv",
            "--workers",
            "1",
            "--overwrite",
            *QUICK,
        ],
        ["table.csv", "table.csv.yaml"],
    ),
}
MOMENTS = {"reconstruct": 8, "check": 4, "compare": 6}
MEANT = (".partial.sqlite", ".partial.sqlite-journal")  # what a killed run leaves for --resume


@pytest.fixture
def workplace(tmp_path, sound) -> Path:
    """A folder with a sound and a project of one notebook."""
    sf.write(tmp_path / "song.wav", sound[:8000], 16000)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    code = "from vaerecon.lab.reports.recording import record\nrecord('x', 2.5, 'dB')"
    nbformat.write(new_notebook(cells=[new_code_cell(code)]), folder / "one.ipynb")
    (folder / "checks.yaml").write_text("one: {timeout: 100}")
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, hidden ones too, with its content; empty folders as b""."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def written(workplace: Path, places: list[str]) -> dict[str, bytes]:
    """What a command wrote, without what it leaves on purpose."""
    return {
        name: data
        for name, data in everything(workplace).items()
        if name.split("/")[0] in places and not name.endswith(MEANT)
    }


def within(place: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Those of one file or folder that a command writes."""
    return {name: data for name, data in files.items() if name.split("/")[0] == place}


# --- interrupted at a random moment ---------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.process
@pytest.mark.fault
def test_an_interrupt_at_any_moment_leaves_the_old_result_or_the_new(zygote, workplace, command):
    """Stratified moments from the start to a little after the usual end, into old and new folders,
    by both signals.

    A result is whole if it has the files of an uninterrupted run and they open.
    """
    args, places = COMMANDS[command]
    inputs = everything(workplace)
    first = zygote.run(args, workplace)
    assert first.status == 0, first.stderr
    names = written(workplace, places)
    check_whole(workplace, places)
    second = zygote.run(args, workplace)  # over the first, all warm
    assert second.status == 0, second.stderr

    rng = random.Random(command)  # noqa: S311 (moments, not secrets)
    ended = []
    for trial in range(MOMENTS[command]):
        number = (signal.SIGINT, signal.SIGTERM)[trial // 2 % 2]
        if trial % 2:  # nothing there before
            for place in places:
                shutil.rmtree(workplace / place, ignore_errors=True)
                with contextlib.suppress(OSError):
                    (workplace / place).unlink()
        before = written(workplace, places)
        after = (trial + rng.random()) / MOMENTS[command] * 1.05 * second.seconds
        done = zygote.run(args, workplace, number=number, after=after)
        # 130 is ours; a signal that comes before run_command ends Python as it ends any program
        assert done.status in (0, 130, -number), (after, done.status, done.stderr)
        assert "Traceback" not in done.stderr
        ended.append(done.status)
        now = written(workplace, places)
        for place in places:  # a result of its own: `check --update` may end between its two
            if within(place, now) != within(place, before):  # as good as done: all is there
                assert set(within(place, now)) == set(within(place, names)), after
        check_whole(workplace, places)
        if now == before and done.status == 130:
            assert "nothing half-written is left" in done.stderr
    assert ended.count(0) < len(ended), "no trial was interrupted"
    left = {n for n in everything(workplace) if n.split("/")[0] not in places}
    left -= {name for name in left if name.endswith(MEANT)}
    assert left == set(inputs)  # no scratch beside the target

    again = zygote.run(args, workplace)
    assert again.status == 0, again.stderr
    assert set(written(workplace, places)) == set(names)
    check_whole(workplace, places)


def check_whole(workplace: Path, places: list[str]) -> None:
    """Every file opens as what it is."""
    for place in places:
        for path in (workplace / place).rglob("*"):
            if path.suffix == ".wav":
                assert sf.info(path).frames == 8000
            elif path.suffix in (".json", ".ipynb"):
                json.loads(path.read_text())
            elif path.suffix == ".png":
                assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
            elif path.suffix == ".html":
                assert path.read_text().rstrip().endswith("</html>")


@pytest.mark.fault
def test_a_second_ctrl_c_does_not_stop_the_cleaning_up_after_the_first(tmp_path, monkeypatch):
    real, numbers = shutil.rmtree, []

    def rmtree(*args, **options):
        signal.raise_signal(signal.SIGINT)  # the user is impatient
        numbers.append(1)
        real(*args, **options)

    monkeypatch.setattr(outputs.shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "new") as scratch:
        (scratch / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert numbers == [1]
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("at", range(4))
@pytest.mark.fault
def test_a_signal_between_two_renames_waits_for_the_last(tmp_path, monkeypatch, number, at):
    for name in "abc":
        (tmp_path / name).write_text("old")
    before = signal.signal(number, stop)
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == at + 1:
            signal.raise_signal(number)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    try:
        with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path) as scratch:
            for name in "abc":
                (scratch / name).write_text("new")
    finally:
        signal.signal(number, before)
    assert everything(tmp_path) == {"a": b"new", "b": b"new", "c": b"new"}


def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


# --- a full disk, a read-only one ----------------------------------------------------------------


FULL = ["song.wav", "--output-dir", "disk/out", *QUICK]


@pytest.mark.parametrize("earlier", [True, False], ids=["over an earlier result", "into a new one"])
@pytest.mark.process
@pytest.mark.fault
def test_a_full_disk_leaves_what_was_there_and_room_makes_the_next_run_good(
    zygote, workplace, earlier
):
    disk = workplace / "disk"
    with small_disk(disk, "size=20m"):
        if earlier:
            assert zygote.run(FULL, workplace).status == 0
        before = everything(disk)
        used = sum(map(len, before.values()))
        rest = (disk / "ballast").open("wb")
        with rest:
            rest.write(b"\0" * (20 * 2**20 - used - 100_000))  # half a result fits
        before = everything(disk)
        done = zygote.run(FULL, workplace)
        assert done.status == 2
        assert "error: output folder: no room to write to 'out' (No space left" in done.stderr
        assert "Traceback" not in done.stderr
        assert everything(disk) == before
        (disk / "ballast").unlink()
        assert zygote.run(FULL, workplace).status == 0
        check_whole(workplace, ["disk"])


@pytest.mark.parametrize("largest", [1000, 20_000, 40_000])
@pytest.mark.process
@pytest.mark.fault
def test_a_limit_on_the_size_of_files_does_as_a_full_disk_does(zygote, workplace, largest):
    """Runs everywhere; the limits let none, or some, of the files be written before it strikes."""
    assert zygote.run(FULL, workplace).status == 0
    before = everything(workplace)
    done = zygote.run(FULL, workplace, largest=largest)
    assert done.status == 2, done.stderr
    assert "error: output folder: no room to write to 'out' (File too large)" in done.stderr
    assert everything(workplace) == before


@pytest.mark.process
@pytest.mark.fault
def test_a_read_only_disk_is_refused(zygote, workplace):
    with small_disk(workplace / "disk", "ro"):
        done = zygote.run(FULL, workplace)
        assert done.status == 2
        assert "output folder: cannot write to 'out' (Read-only file system)" in done.stderr
        assert everything(workplace / "disk") == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions bind root to nothing")
@pytest.mark.process
def test_a_folder_without_permission_is_refused(zygote, workplace):
    (workplace / "disk").mkdir(mode=0o555)
    done = zygote.run(FULL, workplace)
    assert done.status == 2
    assert "output folder: cannot write to 'out' (Permission denied)" in done.stderr


@pytest.mark.parametrize("stem", ["../evil", "/etc/evil", "a/b", "a\\b", "", "x" * 201, "é" * 101])
def test_a_clip_s_name_leads_nowhere_else(tmp_path, tiny, sound, stem):
    from vaerecon.audio.clip import Clip

    result = tiny(Clip(sound[:1600], name=stem), ["silence"], exclude_metrics=["visqol"])
    with pytest.raises(ValueError, match=r"stem: got .*rename the clip, or pass"):
        result.save(tmp_path / "deep" / "out")
    assert everything(tmp_path) == {}


# --- what an earlier run wrote --------------------------------------------------------------------


OTHERS = [  # of other clips, or of the user's own
    "song_notes_reconstruction.wav",
    "song_vocoder_reconstruction.wav.bak",
    "song_admm_reconstruction.wav",  # no run here has made it
    "song_vocoder_vocoder_reconstruction.wav",  # of a clip that is called song_vocoder
    "song_vocoder_analysis.json",
    "other_vocoder_reconstruction.wav",
    "song.txt",
]


@pytest.mark.parametrize("how", ["from memory", "from a file"])
@pytest.mark.slow
def test_a_run_replaces_what_an_earlier_run_of_the_clip_wrote_and_nothing_else(
    workplace, tiny, sound, how
):
    from vaerecon.audio.clip import Clip

    out = workplace / "out"
    options = {"exclude_metrics": ["visqol", "pesq_wb"], "without_vae": False}

    def run(methods: list[str]) -> None:
        if how == "from memory":
            tiny(Clip(sound[:8000], name="song"), methods, **options).save(out)
        else:
            tiny.reconstruct_file(workplace / "song.wav", out, methods, **options)

    run(["vocoder", "fast", "griffinlim"])
    for name in OTHERS:
        (out / name).write_text("mine")
    run(["griffinlim"])
    files = {path.name for path in out.iterdir()}
    assert files == {*OTHERS, "song_analysis.json", "song_original.wav", "song_spectrograms.png",
                     "song_griffinlim_reconstruction.wav"}  # fmt: skip
    assert {(out / name).read_text() for name in OTHERS} == {"mine"}
    listed = json.loads((out / "song_analysis.json").read_text())["methods"]
    assert {entry["file"] for entry in listed.values()} - {None} <= files


@pytest.mark.parametrize(
    "text",
    [
        '{"methods": {"../out/x": {}, "/x": {}, "a\\\\b": {}, "": {}, "x\\u0000": {}}}',
        '{"methods": ["../x", 5, null]}',
        '{"methods": 5}',
        '{"methods": "x"}',
        "[]",
        "{",
        "\udcff",
        "[" * 100_000,
    ],
    ids=range(8),
)
@pytest.mark.slow
def test_a_foreign_analysis_removes_nothing(workplace, tiny, text):
    out = workplace / "out"
    for folder in (out / "song_..", out, workplace):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("x_reconstruction.wav", "song_x_reconstruction.json", "song__x.wav"):
            (folder / name).write_text("mine")
    before = everything(workplace)
    (out / "song_analysis.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    tiny.reconstruct_file(workplace / "song.wav", out, ["silence"], exclude_metrics=["visqol"])
    after = everything(workplace)
    assert before.items() <= after.items()


# --- two at once ----------------------------------------------------------------------------------


def write_set(folder: Path, text: str, rounds: int, start, finish) -> None:
    """Again and again write a set of files that say who wrote them."""
    real = os.replace

    def replace(source, target):  # in this process only: as on a slow disk
        time.sleep(0.001)
        real(source, target)

    os.replace = replace
    for turn in range(rounds):
        start.wait()
        with whole_folder(folder / str(turn)) as scratch:
            for name in "abcdefgh":
                (scratch / name).write_text(text)
        finish.wait()


@pytest.mark.parametrize("exists", [True, False], ids=["into a folder", "into a new one"])
@pytest.mark.process
def test_two_programs_never_mix_their_files(tmp_path, exists):
    rounds, context = 30, multiprocessing.get_context("fork")
    if exists:
        for turn in range(rounds):
            (tmp_path / str(turn)).mkdir()
            for name in "abcdefgh":
                (tmp_path / str(turn) / name).write_text("old")
    barriers = [context.Barrier(3, timeout=LIMIT) for _ in range(2)]
    writers = [
        context.Process(target=write_set, args=(tmp_path, text, rounds, *barriers))
        for text in ("one", "two", "three")
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    for turn in range(rounds):
        found = everything(tmp_path / str(turn))
        assert sorted(found) == list("abcdefgh")
        assert len(set(found.values())) == 1, turn
    assert len(list(tmp_path.iterdir())) == rounds


@pytest.mark.process
@pytest.mark.fault
def test_two_reconstructions_at_once_leave_the_whole_result_of_one(zygote, workplace):
    """Also where one of them has another method more."""
    commands = [["song.wav", "--output-dir", "out", "--seed", seed, *QUICK] for seed in "01"]
    commands[1][-1] = "griffinlim,vocoder"
    alone = {}
    for command in commands:
        assert zygote.run(command, workplace).status == 0
        alone[len(alone)] = (workplace / "out/song_griffinlim_reconstruction.wav").read_bytes()
    assert alone[0] != alone[1]
    for _ in range(2):
        ends = zygote.run_at_once([request(command, workplace) for command in commands])
        assert [end.status for end in ends] == [0, 0], [end.stderr for end in ends]
        found = written(workplace, ["out"])
        seed = json.loads(found["out/song_analysis.json"])["seed"]
        assert len(found) == 4 + seed
        assert found["out/song_griffinlim_reconstruction.wav"] == alone[seed]


def test_threads_do_not_mix_their_files_either(tmp_path):
    def write(text: str) -> None:
        for _ in range(20):
            with whole_file(tmp_path / "a.txt") as path:
                path.write_text(text * 1000)

    threads = [threading.Thread(target=write, args=(text,)) for text in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (text,) = everything(tmp_path).values()
    assert len(set(text)) == 1
