"""The command line, started as people start it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile as sf
from helpers.in_process import run
from helpers.system import LIMIT, UNIT

from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.metrics.scores import METRICS

QUICK = ["--exclude-metric", "visqol", "--methods", "vocoder"]


def vaerecon(*args, cwd, env=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "vaerecon", *map(str, args)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.fixture
def song(tmp_path, sound):
    path = tmp_path / "my song.wav"
    sf.write(path, sound, 16000)
    return path


@pytest.mark.slow
def test_reconstruct_writes_the_files_of_the_design(tmp_path, song):
    done = run("reconstruct", song, "--output-dir", "out", *QUICK, cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "my song_analysis.json",
        "my song_original.wav",
        "my song_spectrograms.png",
        "my song_vocoder_reconstruction.wav",
    ]
    assert "SI-SDR" in done.stdout
    assert METRICS["snr_db"].caveat in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_table_ends_with_a_recommendation_and_can_show_all_metrics(tmp_path, song):
    quick = ["--methods", "vocoder,griffinlim", "--exclude-metric", "visqol"]
    some = run(song, "--output-dir", "out", *quick, cwd=tmp_path)
    found = json.loads((tmp_path / "out" / "my song_analysis.json").read_text())["recommendation"]
    label = {"vocoder": "Vocoder", "griffinlim": "Griffin-Lim"}[found["other"]["method"]]
    text = " ".join(some.stdout.split())
    assert f"for music and other sound {label} ({found['other']['basis']})." in text
    every = run(song, "--output-dir", "out", *quick, "--metrics", "all", cwd=tmp_path)
    for metric in ("RMSE", "Correlation"):
        assert metric not in some.stdout
        assert metric in every.stdout


def test_the_spelling_of_the_original_guide(tmp_path, song):
    done = run(
        song, "--model", "tiny", "--max_length", "0.5", "--output_dir", "out", *QUICK, cwd=tmp_path
    )
    assert done.status == 0, done.stderr
    analysis = json.loads((tmp_path / "out" / "my song_analysis.json").read_text())
    assert analysis["clip"]["duration_s"] == 0.5
    assert analysis["model"]["variant"] == "tiny"


def test_without_a_clip_the_bundled_one_and_without_a_folder_a_new_one(tmp_path):
    done = run("reconstruct", "--max-length", "0.5", *QUICK, cwd=tmp_path)
    assert done.status == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.startswith(f"{DEMO_CLIP}_tiny_")
    assert (folder / f"{DEMO_CLIP}_analysis.json").exists()
    assert len(demo_clips()) == 3


@pytest.mark.slow
def test_the_same_seed_writes_the_same_sound(tmp_path, song):
    for folder in ("a", "b"):
        args = ["--methods", "griffinlim", *QUICK[:2]]
        done = run(song, "--output-dir", folder, *args, cwd=tmp_path)
        assert done.status == 0, done.stderr
    name = "my song_griffinlim_reconstruction.wav"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_models_says_where_each_is_for_and_its_licence(tmp_path):
    done = run("models", cwd=tmp_path)
    assert done.status == 0
    for word in ("tiny", "music", "speech", "large", "cvssp/audioldm2-music", "cc-by-nc-sa-4.0"):
        assert word in done.stdout


@pytest.mark.slow
def test_silence_and_a_very_short_clip_get_a_readable_result(tmp_path, sound):
    def done(samples):
        sf.write(tmp_path / "clip.wav", samples, 16000)
        done = run("clip.wav", "--output-dir", "out", *QUICK, cwd=tmp_path)
        assert done.status == 0
        return done

    silent = done(np.zeros(16000))
    assert "No metric has a value: the reference is silent." in silent.stdout
    assert "What each number does not tell" not in silent.stdout
    short = done(sound[:304])
    assert "the clip lasts 19 ms, less than one window of the mel (64 ms)" in short.stderr
    assert "latent [8, 1, 16], as many values as the mel" in short.stdout
    assert "2 times as many values as" in done(sound[:160]).stdout
    assert "less than one window" not in done(sound[:1024]).stderr


BAD = {
    "a missing file": (["nosuch.wav"], "there is none"),
    "a text file": (["notes.txt"], "expected a sound file"),
    "a typo in a command": (["recontruct"], "did you mean 'reconstruct'"),
    "a typo in a model": (["SONG", "--model", "musik"], "did you mean 'music'"),
    "an unknown method": (["SONG", "--methods", "grifinlim"], "did you mean 'griffinlim'"),
    "a length of nothing": (["SONG", "--max-length", "0"], "max_length"),
    "a file for a folder": (["SONG", "--output-dir", "notes.txt"], "is a file"),
    "an unknown option": (["SONG", "--bogus"], "--bogus"),
    "an option that is like a command": (["--modell", "tiny"], "No such option"),
    "an option under its old name": (
        ["compare", "SONG", "--output", "t.csv", "--no-vae-free"],
        "--no-vae-free is now --only-through-vae",
    ),
    "two models": (
        ["SONG", "--model", "tiny", "--model", "music"],
        "got tiny, music, expected one",
    ),
    "two models to report on": (
        ["report", "SONG", "--model", "tiny", "--model", "tiny"],
        "got tiny, tiny, expected one",
    ),
    "the address of a model": (
        ["SONG", "--model", "https://huggingface.co/cvssp/audioldm2-music"],
        "expected its hub id: cvssp/audioldm2-music",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.process
def test_bad_input_is_one_line_status_2_and_nothing_written(tmp_path, song, case):
    (tmp_path / "notes.txt").write_text("not a sound\n")
    before = sorted(p.name for p in tmp_path.iterdir())
    args, message = BAD[case]
    done = run(*[song if a == "SONG" else a for a in args], cwd=tmp_path)
    assert done.status == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()[-1]) < 300
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", [[], ["report", "--output", "page.html"]])
@pytest.mark.process
def test_without_a_network_there_is_one_line_soon(tmp_path, song, command):
    """Not the client's 22 lines, nor its 25 s, in which it tries again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{taken.getsockname()[1]}",
                       "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}  # fmt: skip
        started = time.monotonic()
        args = [*command[:1], str(song), *command[1:], "--model", "music"]
        done = vaerecon(*args, cwd=tmp_path, env=os.environ | environment)
        seconds = time.monotonic() - started
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: cvssp/audioldm2-music: cannot be downloaded: no connection"
    )
    assert "set HF_ENDPOINT to a mirror" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert seconds < 7 + 4 * UNIT  # alone about one second; the client's pauses are 23
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".html"] == []


@pytest.mark.parametrize("args", [["--help"], ["nosuch.wav"], ["SONG", "--model", "musik"]])
@pytest.mark.process
def test_help_and_errors_do_not_load_torch(tmp_path, song, args):
    code = (
        "import sys; from vaerecon.cli.main import main; sys.argv = ['vaerecon', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    args = [str(song) if a == "SONG" else a for a in args]
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
