"""Other people's sound files: a right result, or one line that says what to do.

``test_audio.py`` holds what reading gives; here the same and worse go through the whole road, from
the command line to the files that it writes.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.checkpoints import save_small
from helpers.in_process import run
from helpers.system import unprivileged
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vaerecon.audio.clip import Clip, load_audio, write_wav
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline

SLOW = [name for name in METRICS if name not in ("snr_db", "correlation", "log_mel_mae")]
QUICK = ["--exclude-metric", "visqol", "--exclude-metric", "pesq-wb", "--methods", "vocoder"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A checkpoint with random weights, smaller than the bundled one."""
    return save_small(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def pipe(model) -> ReconstructionPipeline:
    pipe = ReconstructionPipeline.from_pretrained(str(model), device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise(n: int, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(n)


def wave(x, rate: int = 16000, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    sf.write(file, x, rate, subtype=subtype, format=kind)
    return file.getvalue()


def click(n: int) -> np.ndarray:
    x = np.zeros(n)
    x[n // 2] = 1.0
    return x


def bits(n: int) -> np.ndarray:
    """Noise of one bit: the last of 16."""
    return np.random.default_rng(0).integers(0, 2, n).astype(np.int16)


# --- what cannot be read --------------------------------------------------------------------------

TEXT = b"these are words, not sound\n" * 50
REFUSED: dict[str, tuple[str, bytes, str]] = {  # case -> name, content, what is said
    "empty": ("a.wav", b"", "it is empty (0 bytes)"),
    "empty flac": ("a.flac", b"", "it is empty (0 bytes)"),
    "header only": ("a.wav", wave([]), "got no samples, expected at least one"),
    "header only, 24 bits": ("a.wav", wave([], subtype="PCM_24"), "got no samples"),
    "half a header": ("a.wav", wave(noise(100))[:20], "can read it"),
    "44 bytes of nothing": ("a.wav", bytes(44), "can read it"),
    "one byte": ("a.wav", b"R", "can read it"),
    "text called .wav": ("a.wav", TEXT, "can read it"),
    "text called .mp3": ("a.mp3", TEXT, "can read it"),
    "text called .flac": ("a.flac", TEXT, "can read it"),
    "text called .raw": ("a.raw", TEXT, "can read it"),
    "text without a suffix": ("words", TEXT, "can read it"),
    "a page": ("a.ogg", b"<!doctype html><title>404</title>" * 20, "can read it"),
    "a script": ("a.wav", b"#!/bin/sh\ntouch hacked\n", "can read it"),
    "a picture": ("a.wav", b"\x89PNG\r\n\x1a\n" + bytes(200), "can read it"),
    "an archive": ("a.wav", b"PK\x03\x04" + bytes(200), "can read it"),
    "a pickle": ("a.wav", b"\x80\x04\x95" + bytes(200), "can read it"),
    "NaN": ("a.wav", wave([0, np.nan, 0], subtype="FLOAT"), "got NaN or infinite values"),
    "inf": ("a.wav", wave([0, np.inf, 0], subtype="FLOAT"), "got NaN or infinite values"),
    "-inf": ("a.wav", wave([0, -np.inf], subtype="DOUBLE"), "got NaN or infinite values"),
    "NaN late": ("a.wav", wave([*noise(9999), np.nan], subtype="FLOAT"), "got NaN or infinite"),
    "beyond float32": ("a.wav", wave([0, 1e300], subtype="DOUBLE"), "got NaN or infinite values"),
    "half a flac": ("a.flac", wave(noise(50_000), kind="FLAC")[:40_000], "got damaged data after"),
    "4 kHz": ("a.wav", wave(noise(100), 4000), "got a sample rate of 4000, expected"),
    "384 kHz": ("a.wav", wave(noise(100), 384_000), "got a sample rate of 384000, expected"),
    "1 Hz": ("a.wav", wave(noise(100), 1), "got a sample rate of 1, expected"),
    "a name too long": ("x" * 240 + ".wav", wave(noise(100)), "expected at most 200; rename"),
}


def check_refused(done, folder: Path, before: list[str], message: str) -> None:
    assert done.status == 2, done
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert len(lines[0]) < 600
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.process
def test_what_is_no_sound_is_refused_in_one_line_and_nothing_is_written(tmp_path, model, case):
    name, data, message = REFUSED[case]
    (tmp_path / name).write_bytes(data)
    done = run(name, "--model", model, "--output-dir", "out", *QUICK, cwd=tmp_path)
    check_refused(done, tmp_path, [name], message)


def test_a_folder_a_missing_path_a_pipe_and_an_unreadable_file_are_refused(tmp_path, model):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "gone.wav").symlink_to("nowhere.wav")
    before = sorted(os.listdir(tmp_path))
    cases = {
        "folder": "got the folder 'folder', expected a sound file; name one in it",
        "none.wav": "there is none: check the name and the folder",
        "none/none.wav": "there is none: check the name and the folder",
        "pipe.wav": "it is a pipe or a device",
        "/dev/null": "it is a pipe or a device",
        "loop.wav": "loop.wav",
        "gone.wav": "there is none",
        "folder/../none.wav": "there is none",
        "a\0b.wav": "null byte",
    }
    for name, message in cases.items():
        done = run("reconstruct", name, "--model", model, "--output-dir", "out", cwd=tmp_path)
        check_refused(done, tmp_path, before, message)


def test_permissions(tmp_path, model):
    (tmp_path / "a.wav").write_bytes(wave(noise(100)))
    (tmp_path / "a.wav").chmod(0)
    with unprivileged(), pytest.raises(PermissionError, match="change its permissions"):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x", "1e999", ""])
def test_a_length_that_is_none_is_refused(tmp_path, model, value):
    (tmp_path / "a.wav").write_bytes(wave(noise(100)))
    done = run("a.wav", "--max-length", value, "--output-dir", "out", cwd=tmp_path)
    assert done.status == 2
    assert "max" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["a.wav"]


# --- what is strange, and sound -------------------------------------------------------------------

STRANGE: dict[str, tuple[str, bytes, int]] = {  # case -> name, content, samples of the result
    "one sample": ("a.wav", wave([0.5]), 1),
    "100 samples, spaces": ("a  b c.wav", wave(noise(100)), 100),
    "digital silence": ("a.wav", wave(np.zeros(8000)), 8000),
    "silence with a click": ("a.wav", wave(click(8000)), 8000),
    "DC, quotes": ('it\'s "so" `id` $(id).wav', wave(np.full(8000, 0.5)), 8000),
    "full-scale clipping": ("a.wav", wave(np.sign(noise(8000))), 8000),
    "far over full scale": ("a.wav", wave(noise(8000, 1e6), subtype="FLOAT"), 8000),
    "denormal": ("a.wav", wave(noise(8000, 1e-42), subtype="FLOAT"), 8000),
    "one bit": ("a.wav", wave(bits(8000)), 8000),
    "8 kHz, unicode": ("müsik 音楽 🎵.wav", wave(noise(4000), 8000), 8000),
    "192 kHz, markup": ("[bold red]x[link=file:a].wav", wave(noise(48_000), 192_000), 4000),
    "6 channels, html": ("<script>alert(1)<&amp;.wav", wave(noise(24_000).reshape(-1, 6)), 4000),
    "opposite channels": ("a.wav", wave(np.outer(noise(4000), [1, -1])), 4000),
    "8 bits, format": ("%s {0} %(x)s.wav", wave(noise(4000), subtype="PCM_U8"), 4000),
    "24 bits, a line's end": ("a\nb.wav", wave(noise(4000), subtype="PCM_24"), 4000),
    "32 bits, a terminal's command": (
        "a\x1b]0;owned\x07\x1b[31m.wav", wave(noise(4000), subtype="PCM_32"), 4000),
    "float64, not UTF-8": (
        os.fsdecode(b"caf\xe9.wav"), wave(noise(4000), subtype="DOUBLE"), 4000),
    "flac called wav, only a dot": ("..wav", wave(noise(4000), kind="FLAC"), 4000),
    "wav called mp3": ("a.mp3", wave(noise(4000)), 4000),
    "wav called txt": ("a.txt", wave(noise(4000)), 4000),
    "a truncated wav": ("a.wav", wave(noise(8000))[: 44 + 2 * 4000], 4000),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
@pytest.mark.slow
def test_strange_sounds_and_names_give_a_whole_result(tmp_path, model, case):
    name, data, n_samples = STRANGE[case]
    (tmp_path / name).write_bytes(data)
    done = run(name, "--model", model, "--output-dir", "out", *QUICK, cwd=tmp_path)
    assert done.status == 0, done.stderr
    check_result(tmp_path / "out", n_samples)
    for text in (done.stdout, done.stderr):
        assert "\x1b" not in text
        assert "\x07" not in text
    assert sorted(os.listdir(tmp_path)) == sorted([name, "out"])


def check_result(folder: Path, n_samples: int) -> None:
    """Four files; sounds of the length and finite; the analysis has a reason for each null."""
    assert len(os.listdir(folder)) == 4
    sounds = list(folder.glob("*.wav"))
    assert len(sounds) == 2
    for path in sounds:
        samples, rate = sf.read(os.fsencode(path), dtype="float32")
        assert (len(samples), rate) == (n_samples, 16000)
        assert np.isfinite(samples).all()
    (text,) = (path.read_text(encoding="utf-8") for path in folder.glob("*.json"))
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the analysis"))
    for entry in [*found["methods"].values(), *found["without_vae"].values()]:
        for metric, value in entry["metrics"].items():
            assert value is not None or entry["notes"][metric]


@pytest.mark.parametrize("name", ["-dash.wav", "--help.wav", "-"])
@pytest.mark.slow
def test_names_that_look_like_options(tmp_path, model, name):
    (tmp_path / name).write_bytes(wave(noise(4000)))
    args = ["reconstruct", "--model", model, "--output-dir", "out", *QUICK, "--", name]
    assert run(*args, cwd=tmp_path).status == 0
    check_result(tmp_path / "out", 4000)


@pytest.mark.slow
def test_a_pipe_of_another_encoding_gets_its_output(tmp_path, model):
    """Windows writes cp1252 into a pipe, which has no arrows; nor have some logs."""
    (tmp_path / "音.wav").write_bytes(wave(noise(4000)))
    args = ["音.wav", "--model", model, "--output-dir", "out", *QUICK]
    done = run(*args, cwd=tmp_path, encoding="ascii")
    assert done.status == 0, done.stderr
    assert "SNR ?" in done.stdout
    check_result(tmp_path / "out", 4000)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from Linux")
@pytest.mark.process
def test_ten_seconds_of_three_hours_take_the_memory_of_ten_seconds(zygote, tmp_path, model):
    """Through the whole command, whose libraries alone take 500 MB: the difference is what counts.

    Three hours as float32 at 16 kHz would be 690 MB.
    """
    n = 3 * 3600 * 8000
    header = wave([], 8000)
    with (tmp_path / "long.wav").open("wb") as file:  # sparse
        file.write(header[:4] + (36 + 2 * n).to_bytes(4, "little") + header[8:40])
        file.write((2 * n).to_bytes(4, "little") + wave(noise(80_000), 8000)[44:])
        file.truncate(44 + 2 * n)
    (tmp_path / "short.wav").write_bytes(wave(noise(80_000), 8000))
    peaks = {}
    for name in ("short", "long"):
        args = [f"{name}.wav", "--model", str(model), "--output-dir", name, "--max-length", "10"]
        done = zygote.run([*args, *QUICK], tmp_path)
        assert done.status == 0, done.stderr
        peaks[name] = done.peak
        check_result(tmp_path / name, 160_000)
    assert peaks["long"] < peaks["short"] + 60_000  # kB; two runs of the same differ by as much


# --- anything at all ------------------------------------------------------------------------------


@contextmanager
def only_errors_with_a_message():
    """Nothing but a ValueError or an OSError, in one line, may come out; warnings may."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ValueError, OSError) as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError(f"{type(error).__name__} without a line to show") from error


ANY = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def through(pipe: ReconstructionPipeline, clip: Clip, folder: Path) -> None:
    """Through the whole flow and to disk; lengths and finiteness."""
    assert clip.samples.dtype == np.float32
    assert np.isfinite(clip.samples).all()
    result = pipe(clip, ["vocoder"], without_vae=False, exclude_metrics=SLOW)
    n = len(clip.samples)
    assert result.mel.shape == (-(-n // 160), 64)
    for samples in result.audio.values():
        assert samples.shape == (n,)
        assert torch.isfinite(samples).all()
    for name, samples in result.audio.items():
        write_wav(folder / f"{name}.wav", samples)
        assert np.array_equal(load_audio(folder / f"{name}.wav").samples, samples.numpy())


@pytest.mark.process
def test_an_ogg_file_that_ends_within_its_first_page_is_refused(tmp_path):
    sf.write(tmp_path / "whole.ogg", np.zeros(1600), 16000)
    data = (tmp_path / "whole.ogg").read_bytes()
    for size in (6, 26, 27, 40):
        (tmp_path / "cut.ogg").write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"cut\.ogg"):
            load_audio(tmp_path / "cut.ogg")


@ANY
@given(data=st.data())
@pytest.mark.process
def test_any_file_goes_through_or_is_refused(tmp_path, pipe, data):
    kind, subtypes = data.draw(
        st.sampled_from(
            [
                ("WAV", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"]),
                ("FLAC", ["PCM_S8", "PCM_16", "PCM_24"]),
                ("AIFF", ["PCM_16", "FLOAT"]),
                ("AU", ["PCM_16", "DOUBLE"]),
                ("OGG", ["VORBIS"]),
                ("MP3", ["MPEG_LAYER_III"]),
            ]
        ),
        label="format",
    )
    rates = [8000, 16000, 48000] if kind in ("OGG", "MP3") else [8000, 11025, 16000, 96000, 192000]
    channels = data.draw(st.integers(1, 2 if kind == "MP3" else 8), label="channels")
    n = data.draw(st.sampled_from([0, 1, 2, 99, 160, 1600]) | st.integers(0, 5000), label="samples")
    level = data.draw(st.sampled_from([0.0, 1e-6, 0.1, 1.0, 100.0]), label="level")
    x = np.random.default_rng(n).standard_normal((n, channels)) * level
    rate = data.draw(st.sampled_from(rates), label="rate")
    subtype = data.draw(st.sampled_from(subtypes), label="subtype")
    content = wave(x, rate, subtype, kind)
    damage = data.draw(st.sampled_from(["none", "cut", "flip", "zeros", "garbage"]), label="damage")
    at = data.draw(st.integers(0, max(0, len(content) - 1)), label="at")
    if damage == "cut":
        content = content[:at]
    elif damage == "flip":
        flipped = bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]) if content else b""
        content = content[:at] + flipped + content[at + 1 :]
    elif damage == "zeros":
        content = content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]
    elif damage == "garbage":
        content = content[:at] + data.draw(st.binary(max_size=64)) + content[at:]
    suffix = data.draw(st.sampled_from(["wav", kind.lower(), "m4a", "txt"]), label="suffix")
    path = tmp_path / f"any.{suffix}"
    path.write_bytes(content)
    with only_errors_with_a_message():
        clip = load_audio(path, max_length=data.draw(st.sampled_from([None, 0.05, 0.3])))
        through(pipe, clip, tmp_path)


@ANY
@given(
    content=st.binary(max_size=400), suffix=st.sampled_from(["wav", "flac", "mp3", "ogg", "raw"])
)
@pytest.mark.process
def test_any_bytes_go_through_or_are_refused(tmp_path, pipe, content, suffix):
    path = tmp_path / f"any.{suffix}"
    path.write_bytes(content)
    with only_errors_with_a_message():
        through(pipe, load_audio(path, max_length=0.3), tmp_path)


@ANY
@given(
    x=st.lists(
        st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e-45, 3.4e38, float("nan")]),
        max_size=300,
    ),
    repeat=st.sampled_from([1, 1, 7]),
    rate=st.sampled_from([8000, 16000, 44100, 192000]),
    channels=st.sampled_from([1, 1, 2, 3]),
    kind=st.sampled_from([np.float32, np.float64, np.float16, np.int16, list, torch.tensor]),
)
def test_any_array_goes_through_or_is_refused(tmp_path, pipe, x, repeat, rate, channels, kind):
    samples = np.array(x * repeat, np.float32)
    if channels > 1:
        samples = samples[: len(samples) // channels * channels].reshape(-1, channels)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = kind(samples) if callable(kind) and not isinstance(kind, type) else (
            samples.tolist() if kind is list else samples.astype(kind)
        )  # fmt: skip
    with only_errors_with_a_message():
        through(pipe, Clip.from_samples(given, rate), tmp_path)


@ANY
@given(
    n=st.integers(1, 3000),
    level=st.floats(1e-30, 1e30),
    offset=st.sampled_from([0.0, 1.0, -100.0]),
)
def test_any_level_and_offset_of_good_sound_goes_through(tmp_path, pipe, n, level, offset):
    """Not only no crash: for finite samples that float32 can hold there is no refusal at all."""
    x = np.random.default_rng(n).standard_normal(n) * level + offset * level
    assume(np.abs(x).max() < 1e37)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        through(pipe, Clip.from_samples(x, 16000), tmp_path)


REAL: dict[str, Callable[[Path], list[str]]] = {
    "text": lambda path: path.write_bytes(TEXT) and [str(path)],
    "empty": lambda path: path.write_bytes(b"") or [str(path)],
}


@pytest.mark.parametrize("case", REAL)
@pytest.mark.process
def test_the_same_from_a_shell(tmp_path, case):
    args = REAL[case](tmp_path / "a.wav")
    command = [sys.executable, "-m", "vaerecon", *args, "--output-dir", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == ["a.wav"]
