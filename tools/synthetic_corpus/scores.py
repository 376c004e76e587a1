"""Pieces of music as notes: a Standard MIDI File writer, a random composer and the demo's tune.

A :class:`Score` counts time in beats (quarter notes). :func:`midi_bytes` writes it as a format 0
Standard MIDI File, which FluidSynth or any other player renders. :func:`random_score` composes
training material in every key, tempo and General MIDI instrument, without musical value.
:func:`ensemble_score` is the tune of the demo clip.

References
----------
.. [1] MIDI Association, "Standard MIDI Files 1.0" (RP-001) and "General MIDI 1" (program and
   percussion numbers; programs are counted from 0 here).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

TICKS = 480  # per beat
DRUMS = 9  # the channel of the percussion kit, counted from 0

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
}
# scale degrees, one per bar, repeated as long as the piece lasts
PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (1, 4, 0, 0), (0, 6, 5, 4), (0, 2, 3, 4))
# beats within one bar, chosen to fit 4 or 3 of them
RHYTHMS = (
    (1, 1, 1, 1),
    (0.5, 0.5, 1, 0.5, 0.5, 1),
    (1.5, 0.5, 1, 1),
    (0.75, 0.75, 0.5, 1, 1),
    (0.25, 0.25, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 1),
    (2, 1, 1),
    (3, 1),
    (0.5,) * 8,
    (0.25,) * 16,
)
# General MIDI programs that suit a part; a part takes any other one in a fifth of all pieces
MELODY_PROGRAMS = (*range(0, 16), *range(21, 32), *range(40, 48), *range(52, 88), *range(104, 112))
CHORD_PROGRAMS = (*range(0, 9), *range(11, 32), *range(44, 56), *range(61, 64), *range(88, 104))
BASS_PROGRAMS = (*range(32, 40), 43, 58, 67, 70, 87)
KICKS, SNARES, HATS = (35, 36), (37, 38, 39, 40), (42, 44, 46, 51, 69, 70, 82)
OTHER_DRUMS = tuple(range(41, 82))  # toms, cymbals, congas, bongos, bells, whistles, blocks

Pitch = Callable[[int, int], int]  # (degree of the scale, lowest MIDI number) -> MIDI number


@dataclass(frozen=True)
class Note:
    """One note of one instrument."""

    start: float  # beats from the beginning
    length: float  # beats
    pitch: int  # MIDI number, 60 is middle C; on channel DRUMS the percussion instrument
    velocity: int  # 1..127
    channel: int  # 0..15


@dataclass(frozen=True)
class Score:
    """A piece: notes, instruments, tempo."""

    notes: list[Note]
    programs: dict[int, int]  # channel -> General MIDI program 0..127
    tempo: float = 120.0  # beats per minute
    detune: float = 0.0  # cents, all instruments together, -200..200
    tail: float = 2.0  # beats for the last notes to ring out
    controls: list[tuple[float, int, int, int]] = field(default_factory=list)
    # (beat, channel, controller number, value 0..127)


def _variable_length(value: int) -> bytes:
    """A delta time: seven bits a byte, highest first, the top bit set on all but the last."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


def midi_bytes(score: Score) -> bytes:
    """A Standard MIDI File (format 0, 480 ticks a beat) of the score.

    Raises
    ------
    ValueError
        If a tempo, time, pitch, velocity, channel, program or controller is outside MIDI's range.
    """
    if not 4 <= score.tempo <= 1000:
        raise ValueError(f"tempo: got {score.tempo}, expected 4 to 1000 beats per minute")
    if early := [note for note in score.notes if note.start < 0 or note.length < 0]:
        raise ValueError(f"notes: got {early[0]}, expected start and length of 0 beats or more")
    microseconds = round(60e6 / score.tempo)
    bend = 8192 + round(np.clip(score.detune / 200, -1, 1) * 8191)  # default range: 2 semitones
    # (tick, rank, bytes); at one tick settings come first, then note-offs, then note-ons
    events = [(0, 0, b"\xff\x51\x03" + microseconds.to_bytes(3, "big"))]
    try:
        for channel, program in score.programs.items():
            events.append((0, 0, _message(0xC0, channel, program)))
        for channel in {note.channel for note in score.notes} - {DRUMS}:
            events.append((0, 0, _message(0xE0, channel, bend & 0x7F, bend >> 7)))
        for beat, channel, controller, value in score.controls:
            events.append((round(beat * TICKS), 0, _message(0xB0, channel, controller, value)))
        for note in score.notes:
            start = round(note.start * TICKS)
            stop = max(start + 1, round((note.start + note.length) * TICKS))
            events.append((start, 2, _message(0x90, note.channel, note.pitch, note.velocity)))
            events.append((stop, 1, _message(0x80, note.channel, note.pitch, 0)))
    except ValueError as error:
        raise ValueError(f"score does not fit MIDI: {error}") from error
    track, now = bytearray(), 0
    for tick, _, data in sorted(events):
        track += _variable_length(tick - now) + data
        now = tick
    track += _variable_length(round(score.tail * TICKS)) + b"\xff\x2f\x00"
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _message(status: int, channel: int, *data: int) -> bytes:
    if not 0 <= channel <= 15:
        raise ValueError(f"got channel {channel}, expected 0..15")
    if any(not 0 <= value <= 127 for value in data):
        raise ValueError(f"got data {data}, expected every value in 0..127")
    return bytes((status | channel, *data))


# ------------------------------------------------------------------------------ random pieces


def random_score(rng: Generator, seconds: float) -> Score:
    """A random piece of about ``seconds``: solo, duo or band, in a random key, metre and tempo."""
    tempo = float(rng.uniform(56, 176))
    beats_per_bar = int(rng.choice([4, 4, 4, 3]))
    n_bars = max(2, round(seconds * tempo / 60 / beats_per_bar))
    scale = SCALES[str(rng.choice(list(SCALES)))]
    key = int(rng.integers(12))
    degrees = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    swing = float(rng.choice([0.0, 0.0, 0.12]))

    def pitch(degree: int, base: int) -> int:
        octave, step = divmod(degree, 7)
        return int(np.clip(base + key + 12 * octave + scale[step], 21, 108))

    # which parts play: solos of melody, chords or percussion, or everything
    lineup = rng.choice(["melody", "chords", "drums", "duo", "band", "band", "orchestra"])
    parts = {
        "melody": ["melody"],
        "chords": ["chords"],
        "drums": ["drums", "drums"],
        "duo": ["melody", rng.choice(["chords", "bass", "melody"])],
        "band": ["melody", "chords", "bass", "drums"],
        "orchestra": ["melody", "melody", "chords", "chords", "bass"],
    }[str(lineup)]
    notes: list[Note] = []
    programs: dict[int, int] = {}
    controls: list[tuple[float, int, int, int]] = []
    for channel, part in enumerate(map(str, parts)):
        if part == "drums":
            programs[DRUMS] = int(rng.choice([0, 8, 16, 24, 25, 32, 40]))
            notes += _drums(rng, n_bars, beats_per_bar)
            continue
        suited = {"melody": MELODY_PROGRAMS, "chords": CHORD_PROGRAMS, "bass": BASS_PROGRAMS}[part]
        programs[channel] = int(rng.choice(suited if rng.random() < 0.8 else np.arange(120)))
        play = {"melody": _melody, "chords": _chords, "bass": _bass}[part]
        bars = [degrees[bar % len(degrees)] for bar in range(n_bars)]
        notes += play(rng, bars, beats_per_bar, pitch, channel)
        controls += _expression(rng, n_bars * beats_per_bar, channel)
    swung = [replace(n, start=n.start + swing) if n.start % 1 == 0.5 else n for n in notes]
    return Score(swung, programs, tempo, float(rng.normal(0, 15)), 2.0 * tempo / 60, controls)


def _expression(rng: Generator, n_beats: int, channel: int) -> list[tuple[float, int, int, int]]:
    """Swells (controller 11), vibrato (1), level (7) and reverberation (91) of one channel."""
    level, echo = int(rng.integers(70, 128)), int(rng.integers(100))
    out = [(0.0, channel, 7, level), (0.0, channel, 91, echo)]
    if rng.random() < 0.4:
        out.append((0.0, channel, 1, int(rng.integers(20, 100))))
    if rng.random() < 0.5:
        beats = np.arange(0, n_beats, 0.25)
        phase, period = rng.uniform(0, 2 * np.pi), rng.uniform(4, 16)
        swell = 85 + 42 * np.sin(2 * np.pi * beats / period + phase)
        out += [(float(b), channel, 11, int(v)) for b, v in zip(beats, swell, strict=True)]
    return out


def _velocity(rng: Generator, level: float, accent: bool = False) -> int:
    return int(np.clip(rng.normal(level + 12 * accent, 9), 20, 127))


def _bar_rhythm(rng: Generator, beats_per_bar: int) -> list[float]:
    """Note lengths that fill one bar exactly."""
    lengths, total = [], 0.0
    for length in RHYTHMS[rng.integers(len(RHYTHMS))]:
        if total + length > beats_per_bar:
            break
        lengths.append(float(length))
        total += length
    return [*lengths, beats_per_bar - total] if total < beats_per_bar else lengths


def _melody(
    rng: Generator, bars: list[int], beats_per_bar: int, pitch: Pitch, channel: int
) -> list[Note]:
    """A random walk on the scale that lands on chord notes at the beginning of each bar."""
    base = int(rng.choice([48, 60, 60, 72]))
    level, legato = rng.uniform(50, 110), float(rng.choice([0.4, 0.9, 1.05]))
    rests, motif = rng.uniform(0, 0.25), [_bar_rhythm(rng, beats_per_bar) for _ in range(2)]
    notes, degree = [], 0
    for bar, root in enumerate(bars):
        beat = float(bar * beats_per_bar)
        degree = root + int(rng.choice([0, 2, 4]))
        for i, length in enumerate(motif[int(rng.integers(2))]):
            if rng.random() >= rests:
                velocity = _velocity(rng, level, accent=i == 0)
                start = max(0.0, beat + rng.normal(0, 0.01))
                notes.append(Note(start, length * legato, pitch(degree, base), velocity, channel))
            degree = int(np.clip(degree + rng.choice([-2, -1, -1, 0, 1, 1, 2, 4]), -5, 12))
            beat += length
    return notes


def _chords(
    rng: Generator, bars: list[int], beats_per_bar: int, pitch: Pitch, channel: int
) -> list[Note]:
    """Held, repeated, broken or strummed chords of three to five notes."""
    base, level = int(rng.choice([36, 48, 48, 60])), rng.uniform(45, 95)
    style = str(rng.choice(["held", "repeated", "broken", "strummed"]))
    steps = (0, 2, 4, 7, 9)[: int(rng.integers(3, 6))]
    notes = []
    for bar, root in enumerate(bars):
        tones = [pitch(root + step, base) for step in steps]
        beat = float(bar * beats_per_bar)
        if style == "broken":
            times = np.arange(0, beats_per_bar, 0.5)
            order = [(t, tones[i % len(tones)], 1.0) for i, t in enumerate(times)]
        elif style == "held":
            order = [(0.0, tone, beats_per_bar * 0.98) for tone in tones]
        else:
            spread = 0.06 if style == "strummed" else 0.0
            strokes = [(i * spread, tone) for i, tone in enumerate(tones)]
            order = [(t + late, tone, 0.7) for t in range(beats_per_bar) for late, tone in strokes]
        for start, tone, length in order:
            notes.append(Note(beat + float(start), length, tone, _velocity(rng, level), channel))
    return notes


def _bass(
    rng: Generator, bars: list[int], beats_per_bar: int, pitch: Pitch, channel: int
) -> list[Note]:
    """Roots, fifths and octaves, one to four a beat."""
    step = float(rng.choice([0.5, 1.0, 1.0, 2.0]))
    level, moves = rng.uniform(65, 115), rng.choice([0, 0, 4, 7, 2], size=8)
    notes = []
    for bar, root in enumerate(bars):
        for i, start in enumerate(np.arange(0, beats_per_bar, step)):
            degree = root + int(moves[i % len(moves)]) * (i > 0)
            velocity = _velocity(rng, level, accent=i == 0)
            beat = float(bar * beats_per_bar + start)
            notes.append(Note(beat, step * 0.9, pitch(degree, 24), velocity, channel))
    return notes


def _drums(rng: Generator, n_bars: int, beats_per_bar: int) -> list[Note]:
    """One bar drawn at random on a grid of sixteenths, repeated with small changes."""
    grid = np.arange(0, beats_per_bar, 0.25)
    voices = [
        (int(rng.choice(KICKS)), np.where(grid % 2 == 0, 0.9, 0.1), 100),
        (int(rng.choice(SNARES)), np.where(grid % 2 == 1, 0.9, 0.06), 90),
        (int(rng.choice(HATS)), np.where(grid % 0.5 == 0, 0.9, 0.3), 70),
        (int(rng.choice(OTHER_DRUMS)), np.full(len(grid), rng.uniform(0.05, 0.3)), 80),
        (int(rng.choice(OTHER_DRUMS)), np.full(len(grid), rng.uniform(0.05, 0.3)), 80),
    ]
    voices = [voice for voice in voices if rng.random() < 0.8] or voices[:1]
    patterns = [rng.random(len(grid)) < chance for _, chance, _ in voices]
    notes = []
    for bar in range(n_bars):
        for (drum, _, level), pattern in zip(voices, patterns, strict=True):
            for start in grid[pattern ^ (rng.random(len(grid)) < 0.03)]:
                beat = float(bar * beats_per_bar + start)
                notes.append(Note(beat, 0.25, drum, _velocity(rng, level), DRUMS))
    return notes


# ------------------------------------------------------------------------------ the demo's tune


def ensemble_score() -> Score:
    """A little waltz in D: flute, piano, strings, plucked bass, triangle and shaker."""
    flute, piano, strings, bass = range(4)
    melody = [  # (beat, beats, pitch, velocity)
        (0, 1, 78, 84), (1, 1.5, 81, 92), (2.5, 0.5, 83, 84),
        (3, 1, 81, 88), (4, 1, 78, 80), (5, 1, 74, 76),
        (6, 0.5, 76, 82), (6.5, 0.5, 78, 84), (7, 1, 79, 90), (8, 1, 83, 96),
        (9, 1.5, 81, 94), (10.5, 0.5, 79, 84), (11, 1, 76, 80),
        (12, 2.6, 78, 84),
    ]  # fmt: skip
    chords = [(62, 66, 69), (59, 62, 66), (55, 62, 67), (57, 61, 67), (62, 66, 69)]  # D Bm G A7 D
    roots = (38, 35, 31, 33, 38)
    notes = [Note(b, n * 0.95, p, v, flute) for b, n, p, v in melody]
    for bar, (tones, root) in enumerate(zip(chords, roots, strict=True)):
        beat, last = 3.0 * bar, bar == len(chords) - 1
        notes += [Note(beat, 2.9, tone, 58, strings) for tone in tones]
        notes.append(Note(beat, 1.5, root + 12, 84, bass))
        notes.append(Note(beat, 2.0, root + 12, 62, piano))
        rising = [tones[0], tones[1], tones[2], tones[0] + 12, tones[2]]
        for i, tone in enumerate([*tones, tones[0] + 12] if last else rising):
            notes.append(Note(beat + 0.5 * (i + 1), 1.0, tone, 66 - 4 * (i % 2), piano))
        notes.append(Note(beat, 1.0, 81, 54, DRUMS))  # open triangle
        if not last:
            notes += [Note(beat + i, 0.5, 82, 50 + 14 * (i > 0), DRUMS) for i in range(3)]  # shaker
    # a moment of silence first, so that the fade at the beginning does not blunt the attack
    notes = [replace(note, start=note.start + 0.15) for note in notes]
    programs = {flute: 73, piano: 0, strings: 48, bass: 32, DRUMS: 0}
    controls = [(0.0, flute, 7, 96), (0.0, strings, 7, 80), (0.0, bass, 7, 104)]
    return Score(notes, programs, tempo=168.0, tail=2.0, controls=controls)
