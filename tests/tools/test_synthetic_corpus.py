"""The corpus and the demo clips: the recipe runs, and what is bundled is what it makes.

What renders clips needs fluidsynth, fluid-soundfont-gm and espeak-ng. Only the corpus is made with
them, nothing that users run, so these tests are skipped where they are not installed.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tools.synthetic_corpus import synthesis
from tools.synthetic_corpus.scores import (
    DRUMS,
    Note,
    Score,
    ensemble_score,
    midi_bytes,
    random_score,
)
from tools.synthetic_corpus.sounds import RATE, SOUNDS, electronic
from vaerecon.mel.front_end import log_mel

CLIPS = Path(str(files("vaerecon") / "bundled" / "clips"))
MUSIC, SPEECH = ["fluidsynth", "fluid-soundfont-gm"], ["espeak-ng"]
PROGRAMS = {"music": MUSIC, "speech": SPEECH, "sounds": [], "mixture": MUSIC + SPEECH}
NAMES = ("demo_electronic", "demo_ensemble", "demo_speech")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """The demo clips, rendered anew as a user does it."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "tools.synthetic_corpus", "demo", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


# ------------------------------------------------------------------------------ demo clips


def test_three_clips_are_bundled_with_their_licence():
    clips = sorted(CLIPS.glob("*.flac"))
    assert [clip.stem for clip in clips] == list(NAMES)
    assert sum(clip.stat().st_size for clip in clips) < 500_000
    readme = (CLIPS / "README.md").read_text(encoding="utf-8")
    assert all(f"{name}.flac" in readme for name in NAMES)
    assert "CC0" in readme
    assert synthesis.DEMO_TEXT in readme


@pytest.mark.parametrize("name", NAMES)
def test_bundled_clip_is_clean(name):
    info = soundfile.info(CLIPS / f"{name}.flac")
    assert (info.samplerate, info.channels, info.format, info.subtype) == (
        16000,
        1,
        "FLAC",
        "PCM_16",
    )
    assert 4.0 <= info.duration <= 6.1
    samples, _ = soundfile.read(CLIPS / f"{name}.flac")
    peak = np.abs(samples).max()
    assert 0.5 <= peak <= 0.9
    assert abs(samples.mean()) < 1e-4  # DC: 80 dB below full scale
    assert np.flatnonzero(np.abs(samples) > 0.02 * peak)[0] < 0.1 * RATE  # starts at once
    # ends are faded: the outermost millisecond is 40 dB below the peak
    assert np.abs(np.r_[samples[:16], samples[-16:]]).max() < 0.01 * peak


@pytest.mark.needs(*MUSIC, *SPEECH)
@pytest.mark.process
def test_electronic_clip_equals_its_recipe(rendered):
    """NumPy alone, so only the last bits of sin and exp can differ: they may turn a rounding."""
    stored, _ = soundfile.read(CLIPS / "demo_electronic.flac", dtype="int16")
    again, _ = soundfile.read(rendered / "demo_electronic.flac", dtype="int16")
    assert stored.shape == again.shape
    assert np.abs(stored.astype(int) - again).max() <= 2  # of 32768


@pytest.mark.needs(*MUSIC, *SPEECH)
@pytest.mark.parametrize("name", ["demo_ensemble", "demo_speech"])
@pytest.mark.process
def test_rendered_clip_is_the_bundled_one(name, rendered):
    """0 with the same program versions. 0.25 nepers leave room for others: 3 cents of mistuning
    cost 0.15, the waltz without its flute 0.36, speech 15 steps higher 0.39, other words 2.4."""
    stored, _ = soundfile.read(CLIPS / f"{name}.flac", dtype="float32")
    again, _ = soundfile.read(rendered / f"{name}.flac", dtype="float32")
    assert abs(len(stored) - len(again)) < 0.05 * RATE
    n = min(len(stored), len(again))
    assert (log_mel(stored[:n]) - log_mel(again[:n])).abs().mean() < 0.25


def test_electronic_takes_tempo_and_bars():
    beat = 60 / 150
    assert len(electronic(tempo=150, bars=1)) == round(4.75 * beat * RATE)


# ------------------------------------------------------------------------------ MIDI files


def parse_midi(data: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """A reader as strict as the standard: ticks a beat, and (tick, message) of the one track."""
    magic, size, kind, tracks, ticks = struct.unpack(">4sIHHH", data[:14])
    assert (magic, size, kind, tracks) == (b"MThd", 6, 0, 1)
    magic, length = struct.unpack(">4sI", data[14:22])
    assert magic == b"MTrk"
    assert length == len(data) - 22
    at, tick, events = 22, 0, []
    while at < len(data):
        delta = 0
        while True:
            delta, more, at = delta << 7 | data[at] & 0x7F, data[at] & 0x80, at + 1
            if not more:
                break
        tick += delta
        status = data[at]
        assert status & 0x80, "no running status is written"
        n = 3 + data[at + 2] if status == 0xFF else 2 if status >> 4 in (0xC, 0xD) else 3
        assert status == 0xFF or all(byte < 128 for byte in data[at + 1 : at + n])
        events.append((tick, data[at : at + n]))
        at += n
    assert at == len(data)
    assert events[-1][1] == b"\xff\x2f\x00"
    assert all(message != b"\xff\x2f\x00" for _, message in events[:-1])
    return ticks, events


def note_ons(events: list[tuple[int, bytes]]) -> list[tuple[int, int, int, int]]:
    """(tick, channel, pitch, velocity), sorted."""
    ons = [(tick, m[0] & 15, m[1], m[2]) for tick, m in events if m[0] >> 4 == 9]
    return sorted(ons)


@pytest.mark.parametrize("seed", range(8))
def test_random_score_is_a_valid_midi_file(seed):
    score = random_score(np.random.default_rng(seed), 12.0)
    ticks, events = parse_midi(midi_bytes(score))
    wanted = [(round(n.start * ticks), n.channel, n.pitch, n.velocity) for n in score.notes]
    assert note_ons(events) == sorted(wanted)
    offs = [m for _, m in events if m[0] >> 4 == 8]
    assert len(offs) == len(score.notes)
    programs = {m[0] & 15: m[1] for _, m in events if m[0] >> 4 == 0xC}
    assert programs == score.programs
    tempo = next(m for _, m in events if m[:2] == b"\xff\x51")
    assert int.from_bytes(tempo[3:], "big") == pytest.approx(60e6 / score.tempo, abs=0.5)
    end = max(n.start + n.length for n in score.notes)
    last = max([end, *(beat for beat, *_ in score.controls)])
    assert events[-1][0] == pytest.approx((last + score.tail) * ticks, abs=2)  # ticks of rounding
    assert 6 < end * 60 / score.tempo < 18  # about the 12 s asked for, in whole bars


def test_long_pauses_and_repeated_notes_survive():
    """Delta times of one to four bytes; at one tick the old note ends before the new one begins."""
    notes = [Note(0, 1, 60, 90, 0), Note(1, 1, 60, 80, 0), Note(6000, 1, 61, 70, 0)]
    _, events = parse_midi(midi_bytes(Score(notes, {0: 0}, tail=0.0)))
    assert [tick for tick, *_ in note_ons(events)] == [0, 480, 2_880_000]
    at_480 = [m[0] >> 4 for tick, m in events if tick == 480]
    assert at_480 == [8, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"programs": {0: 128}}, "0..127"),
        ({"programs": {16: 0}}, "0..15"),
        ({"notes": [Note(0, 1, 128, 90, 0)]}, "0..127"),
        ({"notes": [Note(-1, 1, 60, 90, 0)]}, "0 beats or more"),
        ({"controls": [(0.0, 0, 7, 200)]}, "200"),
        ({"tempo": 0.0}, "tempo"),
    ],
)
def test_what_midi_cannot_say_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        midi_bytes(replace(ensemble_score(), **change))


@pytest.mark.needs(*MUSIC)
@pytest.mark.process
def test_fluidsynth_plays_the_pitch_that_is_written():
    """A4 is 440 Hz; detuned by 100 cents it is a semitone higher. Within 1 %: soundfonts are not
    tuned to the last cent, and a semitone is 6 %."""
    for detune, frequency in ((0.0, 440.0), (100.0, 466.16)):
        score = Score([Note(0, 4, 69, 100, 0)], {0: 73}, detune=detune)
        samples = synthesis.render_score(score)
        middle = samples[RATE // 2 : RATE // 2 + RATE] * np.hanning(RATE)
        peak = np.argmax(np.abs(np.fft.rfft(middle))[200:700]) + 200  # 1 s: bins are hertz
        assert peak == pytest.approx(frequency, rel=0.01)


# ------------------------------------------------------------------------------ corpus


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.__name__)
def test_sounds_are_decided_by_the_seed(sound):
    n = RATE
    first, again, other = (sound(np.random.default_rng(seed), n) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    for samples in (first, other):
        assert samples.shape == (n,)
        assert np.isfinite(samples).all()
        assert samples.std() > 0


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.needs(*PROGRAMS[k])) for k in synthesis.KINDS]
)
@pytest.mark.process
def test_corpus_clip_of_each_kind(kind):
    samples = synthesis.corpus_clip(kind, np.random.default_rng([1, 2]))
    assert samples.dtype == np.float32
    # 10 to 18 s are asked for; scores are whole bars, and silence at the ends is trimmed
    assert 8 <= len(samples) / RATE <= 20.1
    assert np.isfinite(samples).all()
    assert 0.29 < np.abs(samples).max() < 0.96  # so PCM cannot clip
    assert abs(samples.mean()) < 1e-3
    assert samples.std() > 1e-3


@pytest.mark.needs(*MUSIC, *SPEECH)
@pytest.mark.process
def test_corpus_is_decided_by_the_seed_and_can_be_longer(tmp_path):
    short = synthesis.write_corpus(tmp_path / "short", minutes=0.1, seed=7)
    longer = synthesis.write_corpus(tmp_path / "longer", minutes=0.3, seed=7)
    other = synthesis.write_corpus(tmp_path / "other", minutes=0.1, seed=8)
    assert len(short) < len(longer)
    for one, two in zip(short, longer, strict=False):
        assert one.name == two.name
        assert one.read_bytes() == two.read_bytes()
    assert short[0].read_bytes() != other[0].read_bytes()
    infos = [soundfile.info(path) for path in longer]
    assert {(info.samplerate, info.channels, info.format) for info in infos} == {(16000, 1, "FLAC")}
    record = json.loads((tmp_path / "longer" / "corpus.json").read_text())
    assert record["seed"] == 7
    assert record["clips"] == len(longer)
    assert record["seconds"] == pytest.approx(sum(info.duration for info in infos), abs=0.1)
    assert record["seconds"] >= 18


# ------------------------------------------------------------------------------ refusals


@pytest.mark.process
def test_missing_program_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = [sys.executable, "-m", "tools.synthetic_corpus", "demo", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "apt-get install fluidsynth" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*.flac"))
    with pytest.raises(OSError, match="apt-get install espeak-ng"):
        synthesis.render_speech("hello")


@pytest.mark.needs("fluidsynth")
def test_missing_soundfont_names_its_package(tmp_path):
    with pytest.raises(OSError, match="apt-get install fluid-soundfont-gm"):
        synthesis.render_score(ensemble_score(), tmp_path / "none.sf2")


@pytest.mark.needs(*SPEECH)
@pytest.mark.process
def test_unknown_voice_is_refused():
    with pytest.raises(OSError, match="espeak-ng failed"):
        synthesis.render_speech("hello", voice="nonsense")


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of music, speech, sounds, mixture"):
        synthesis.corpus_clip("noise", np.random.default_rng(0))


def test_finish_sets_peak_and_refuses_silence():
    tone = 0.01 * np.sin(np.arange(RATE) / 5) + 0.3
    done = synthesis.finish(np.pad(tone, RATE), 0.6)
    assert np.abs(done).max() == pytest.approx(0.6, abs=1e-6)
    assert len(done) == pytest.approx(RATE, abs=0.05 * RATE)  # the silence around it is gone
    with pytest.raises(ValueError, match="silence"):
        synthesis.finish(np.zeros(RATE), 0.6)


def test_ensemble_uses_what_the_readme_says():
    score = ensemble_score()
    assert {n.channel for n in score.notes} == set(score.programs)
    assert {n.pitch for n in score.notes if n.channel == DRUMS} == {81, 82}  # triangle, shaker
