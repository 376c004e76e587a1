"""``vaerecon stream``: real time without a sound card, files, and what it says of late blocks."""

from __future__ import annotations

import gc
import re
import threading

import numpy as np
import pytest
import soundfile as sf
import torch
from helpers.in_process import run

import vaerecon as vr
from vaerecon.streaming.live import WAITING, Line, blocks_of


@pytest.fixture
def song(tmp_path, sound):
    path = tmp_path / "song.wav"
    sf.write(path, 0.3 * sound[:15999], 16000, "FLOAT")
    return path


def test_from_file_to_file_the_latency_is_taken_off(tmp_path, song, tiny):
    done = run("stream", "--input", song, "--output", "out.wav", "--method", "griffinlim",
               "--gain", 2, cwd=tmp_path)  # fmt: skip
    assert (done.status, done.stderr) == (0, "")
    assert "latency 274 ms: block 40, window 54, encoder 80, decoder 80, griffinlim 20" in (
        done.stdout
    )
    found, rate = sf.read(tmp_path / "out.wav", dtype="float32")
    assert (len(found), rate) == (15999, 16000)
    stream = vr.Stream(tiny, method="griffinlim", gain=2)
    own = [stream.push(sf.read(song, dtype="float32")[0]), stream.flush()]
    np.testing.assert_array_equal(found, np.concatenate(own)[stream.latency :])


@pytest.mark.slow
def test_a_simulation_says_what_was_late_and_gives_what_was_heard(tmp_path, song):
    done = run("stream", "--simulate", "--input", song, "--output", "out.wav", "--around-vae",
               "--block", 0.5, "--max-length", 0.9, cwd=tmp_path)  # fmt: skip
    assert (done.status, done.stderr) == (0, "")
    counts = re.search(r"(\d+) blocks: (\d+) late .*, (\d+) dropped", done.stdout)
    blocks, late, dropped = map(int, counts.groups())
    assert blocks >= 3
    assert re.search(r"processor time: [\d.]+ ms a block.* of a core", done.stdout)
    found, _ = sf.read(tmp_path / "out.wav")
    assert len(found) == blocks * 8000
    assert not found[:8000].any()
    assert late or dropped or found.any()


def test_a_late_block_is_silence_and_the_latency_stays(tiny):
    """The callback's side is called by hand, so that what is late does not depend on the clock."""
    stream = vr.Stream(tiny, through_vae=False, look_ahead=0.02, gain=1.0)
    line, ramp = Line(stream), np.linspace(-0.5, 0.5, 30 * 640, dtype=np.float32)
    blocks = list(blocks_of(ramp, line.size, 0))[:30]
    expected = stream.push(np.concatenate(blocks)).numpy().reshape(30, -1)
    stream.flush()

    def compute() -> None:
        line.coming.put(None)
        line.work()

    heard = [line.exchange(blocks[0])]
    compute()
    heard.append(line.exchange(blocks[1]))
    heard.append(line.exchange(blocks[2]))  # block 1 is not ready
    compute()
    for block in blocks[3:]:
        heard.append(line.exchange(block))
        compute()
    assert (line.blocks, line.late, line.dropped) == (30, 1, 0)
    assert not heard[2].any()
    for i in range(3, 30):  # one block later than the stream, as before
        np.testing.assert_array_equal(heard[i], expected[i - 1])


def test_with_a_larger_buffer_a_block_may_take_longer_and_comes_later(tiny):
    stream = vr.Stream(tiny, through_vae=False, look_ahead=0.02, gain=1.0)
    line, ramp = Line(stream, buffer=3), np.linspace(-0.5, 0.5, 8 * 640, dtype=np.float32)
    expected = stream.push(ramp).numpy().reshape(8, -1)
    stream.flush()
    heard = []
    for i, block in enumerate(blocks_of(ramp, line.size, 0)):
        heard.append(line.exchange(block))
        if i % 3 == 2:  # three blocks at once, when the third has come
            line.end()
            line.work()
    assert (line.late, line.latency) == (0, 3 * 640)
    np.testing.assert_array_equal(heard, [*np.zeros((3, 640)), *expected[:5]])


def test_a_sound_in_blocks_ends_with_its_last_sample():
    blocks = list(blocks_of(np.arange(1, 1001), 640, 300))
    assert np.concatenate(blocks).tolist() == [*range(1, 1001), *[0] * 920]


def test_what_does_not_fit_the_queue_is_dropped_and_counted(tiny):
    line = Line(vr.Stream(tiny, through_vae=False))
    block = np.zeros(line.size, np.float32)
    for _ in range(WAITING + 5):
        line.exchange(block)
    assert (line.dropped, line.late) == (5, WAITING + 4)
    assert line.coming.qsize() == WAITING
    line.end()
    line.work()
    assert line.owed <= 0
    assert line.ready.qsize() == 0 or line.owed == 0
    assert "5 dropped" in line.report()


def test_the_garbage_collector_does_not_look_through_the_models(tiny):
    """That takes 0.2 s: five blocks would be late."""
    line, frozen = Line(vr.Stream(tiny, through_vae=False)), []
    push = line.stream.push

    def noted(block: np.ndarray) -> torch.Tensor:
        frozen.append(gc.get_freeze_count())
        return push(block)

    line.stream.push = noted
    line.exchange(np.zeros(line.size, np.float32))
    line.end()
    line.work()
    assert frozen[0] > 100_000
    assert gc.get_freeze_count() == 0


def test_the_callback_does_not_wait_for_the_model(tiny):
    line = Line(vr.Stream(tiny))
    done = threading.Event()

    def card() -> None:
        for _ in range(3 * WAITING):  # nobody computes
            line.exchange(np.zeros(line.size, np.float32))
        done.set()

    threading.Thread(target=card, daemon=True).start()
    assert done.wait(30)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("--input none.wav --output a.wav", "none.wav"),
        ("--input song.wav --output a.mp3", ".wav"),
        ("--input song.wav --output mic", ".wav"),
        ("--simulate --input mic", "needs no card"),
        ("--simulate --block 0.02", "a latent position is 4 mel frames"),
        ("--simulate --method admm", "method"),
        ("--simulate --gain 0", "gain"),
    ],
)
def test_bad_input_is_one_line_status_2_and_nothing_written(tmp_path, song, command, word):
    done = run("stream", *command.split(), cwd=tmp_path)
    assert done.status == 2
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


@pytest.mark.parametrize("error", [ImportError("no"), OSError("PortAudio library not found")])
def test_without_sound_cards_one_line_says_what_to_install(tmp_path, monkeypatch, error):
    import builtins

    real = builtins.__import__

    def refuse(name, *rest):
        if name == "sounddevice":
            raise error
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for command in (["--list-devices"], ["--input", "mic", "--output", "a.wav"]):
        done = run("stream", *command, cwd=tmp_path)
        assert done.status == 2
        assert done.stderr.count("\n") == 1
        assert ("'.[live]'" in done.stderr) == isinstance(error, ImportError)
        assert ("libportaudio2" in done.stderr) == isinstance(error, OSError)
