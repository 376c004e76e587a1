"""Machines and callers as they are: what is missing or set otherwise around a run does no harm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
import torch
from helpers.system import LIMIT

import vaerecon as vr
from vaerecon.cli.main import cli
from vaerecon.utils.console import SAVE_MEMORY, run_command

NAME = "söng 歌"
SLOW = ("pesq_wb", "stoi", "estoi", "visqol")
QUICK = ["--methods", "griffinlim"]
QUICK += [part for name in SLOW for part in ("--exclude-metric", name.replace("_", "-"))]


@pytest.fixture
def song(tmp_path, sound) -> Path:
    sf.write(tmp_path / "song.wav", sound, 16000)
    return tmp_path / "song.wav"


def python(*args, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, **options)


# --- numba's cache --------------------------------------------------------------------------------


@pytest.mark.process
def test_where_numba_can_write_nowhere_a_temporary_folder_serves(tmp_path, song):
    """Its two folders cannot be made, not even by root: a file has the name of each."""
    for package in ("librosa", "visqol"):
        if spec := find_spec(package):
            copy = tmp_path / "site" / package
            hidden = shutil.ignore_patterns("__pycache__")
            shutil.copytree(Path(spec.origin).parent, copy, ignore=hidden)
            for folder in (copy, *filter(Path.is_dir, copy.rglob("*"))):
                (folder / "__pycache__").touch()
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    env |= {"PYTHONPATH": str(tmp_path / "site"), "HOME": "/dev/null", "TMPDIR": str(tmp_path)}
    env |= {"XDG_CACHE_HOME": "/dev/null/cache"}

    alone = python("-c", "import librosa.filters", env=env)
    assert "cannot cache function" in alone.stderr  # else the rest shows nothing

    code = (
        "import importlib.util, os, sys, librosa, vaerecon as vr\n"
        "assert librosa.__file__.startswith(sys.argv[2])\n"
        "clip = vr.load_audio(sys.argv[1])\n"
        "pipe = vr.ReconstructionPipeline.from_pretrained('tiny')\n"
        f"pipe(clip, 'griffinlim', exclude_metrics={SLOW})\n"  # imports librosa.filters
        "if importlib.util.find_spec('visqol'):\n"
        "    import visqol\n"  # enough to fail without a cache; to use it compiles for a minute
        "    assert visqol.__file__.startswith(sys.argv[2])\n"
        "print(os.environ['NUMBA_CACHE_DIR'])\n"
    )
    done = python("-c", code, song, tmp_path / "site", env=env)
    assert done.returncode == 0, done.stderr
    folder = done.stdout.strip()
    assert Path(folder).parent == tmp_path
    assert not Path(folder).exists()  # gone with the process


# --- standard streams -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "closed", "written"),
    [
        (["song.wav", "--output-dir", "out"], ">&-", "out/song_analysis.json"),
        (["compare", "song.wav", "--output", "table.csv"], "<&- >&- 2>&-", "table.csv"),
    ],
)
@pytest.mark.process
def test_without_standard_streams_results_are_written(tmp_path, song, command, closed, written):
    command = [sys.executable, "-m", "vaerecon", *command, *QUICK]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    assert subprocess.run([*shell, *command], cwd=tmp_path, timeout=LIMIT).returncode == 0
    assert (tmp_path / written).stat().st_size > 0


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "cuda", "a CUDA device's words"])
def test_a_machine_out_of_memory_is_told_what_takes_less(device, capsys):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")

    @click.command()
    def greedy() -> None:
        if device.endswith("words"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        torch.empty(2**50, device=device)

    before = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["vaerecon"]
    try:
        with pytest.raises(SystemExit) as stop:
            run_command(greedy)
    finally:
        sys.argv = before[0]
        signal.signal(signal.SIGTERM, before[1])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory; to take less: --chunk-seconds 8")
    assert "--device cpu" in line


@pytest.mark.parametrize("name", ["--chunk-seconds", "--max-length", "--batch-size", "--device"])
def test_the_options_that_save_memory_exist(name):
    assert name in SAVE_MEMORY
    commands = [cli.commands["reconstruct"], *cli.commands["train"].commands.values()]
    assert any(name in option.opts for command in commands for option in command.params)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_file_system_encoding_without_the_characters_of_a_name(tmp_path, sound):
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = python("-c", "import sys; print(sys.getfilesystemencoding())", env=env).stdout.strip()
    if found == "utf-8":
        pytest.skip("this system always has UTF-8")
    folder = tmp_path / "clips"
    folder.mkdir()
    sf.write(folder / f"{NAME}.wav", sound, 16000)
    files = ["analysis.json", "griffinlim_reconstruction.wav", "original.wav", "spectrograms.png"]
    files = [f"{NAME}_{end}" for end in files]

    code = (
        "import vaerecon as vr\n"
        "from vaerecon.cli.main import main\n"
        f"clip = vr.load_audio({f'clips/{NAME}.wav'!r})\n"
        "pipe = vr.ReconstructionPipeline.from_pretrained('tiny')\n"
        f"pipe(clip, 'griffinlim', exclude_metrics={SLOW}).save({NAME!r})\n"
        f"vr.compare('clips', methods='silence', exclude_metrics={SLOW},\n"
        f"           output={f'{NAME}.parquet'!r})\n"
        "main()\n"  # with the arguments of this process
    )
    (tmp_path / "script.py").write_text(code, encoding="utf-8")  # as an argument it would be ASCII
    command = ["script.py", folder / f"{NAME}.wav", "--output-dir", f"{NAME} out", *QUICK]
    done = python(*command, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for out in (NAME, f"{NAME} out"):
        assert sorted(os.listdir(tmp_path / out)) == files
        analysis = json.loads((tmp_path / out / files[0]).read_text(encoding="utf-8"))
        assert analysis["clip"]["name"] == NAME
        assert analysis["methods"]["griffinlim"]["file"] == files[1]
    table = pd.read_parquet(tmp_path / f"{NAME}.parquet")
    assert set(table["file"]) == {f"{NAME}.wav"}
    assert table["error"].isna().all()


# --- numpy's settings -----------------------------------------------------------------------------


@pytest.mark.slow
def test_numpy_errstate_around_a_call_does_no_harm(tiny, sound, tmp_path):
    def run():
        clip = vr.Clip.from_samples(np.stack([sound, sound], axis=1).astype(float) * 1e-3, 16000)
        vr.naive_log_mel(clip.samples)
        with pytest.warns(UserWarning, match="silent"):
            vr.log_mel(sound.astype(float) * 1e-44)  # beneath the normal numbers of float32
        result = tiny(
            clip, "librosa,griffinlim,vocoder", exclude_metrics=["visqol"], without_vae=False
        )
        result.save(tmp_path)
        return result.table.drop(columns=["seconds", "real_time_factor"])

    expected = run()
    for setting in ("raise", "ignore"):
        with np.errstate(all=setting):
            found = run()
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


# --- processes that can start no others -----------------------------------------------------------

COMPARE = """
import multiprocessing, sys

def work():
    import vaerecon as vr
    clips = ["a.wav", "b.wav"]
    table = vr.compare(clips, methods="silence", workers=2, output="table.csv",
                       exclude_metrics=["pesq_wb", "stoi", "estoi", "visqol"])
    assert table["error"].isna().all()

if __name__ == "__main__":
    if sys.argv[1:] == ["daemonic"]:
        process = multiprocessing.get_context("spawn").Process(target=work, daemon=True)
        process.start()
        process.join()
        sys.exit(process.exitcode)
    work()
"""


@pytest.mark.parametrize(("how", "reason"), [("-", "there is no file"), ("daemonic", "Celery")])
@pytest.mark.process
def test_compare_works_in_a_process_that_can_start_no_others(tmp_path, sound, how, reason):
    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", sound, 16000)
    (tmp_path / "script.py").write_text(COMPARE)
    if how == "-":  # from the standard input
        done = python("-", cwd=tmp_path, input=COMPARE)
    else:
        done = python("script.py", how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "all is done in this one" in done.stderr
    assert reason in done.stderr
    assert len(pd.read_csv(tmp_path / "table.csv")) == 4  # 2 clips, with and without the VAE
