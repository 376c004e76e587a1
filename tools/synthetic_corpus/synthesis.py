"""The training corpus and the demo clips, rendered by programs instead of downloaded.

``python -m tools.synthetic_corpus corpus data/synthesized --minutes 40 --seed 0`` writes
16 kHz mono FLAC files of music (random scores through FluidSynth and a General MIDI soundfont),
speech (espeak-ng, many voices and languages), sounds made by arithmetic, and mixtures of them.
``python -m tools.synthetic_corpus demo vaerecon/bundled/clips`` renders the bundled clips.

The same seed and the same versions of the programs give the same files. Nothing is taken from
recordings other than the soundfont's samples (FluidR3_GM, MIT licence); espeak-ng's licence (GPL)
covers the program, not its output.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr
from numpy.random import Generator
from tqdm.auto import tqdm

from .scores import Score, ensemble_score, midi_bytes, random_score
from .sounds import RATE, SOUNDS, electronic, equalise, room, tilted_noise
from .words import SPEAKERS, VOICES, random_text

logger = logging.getLogger(__name__)

SOUNDFONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"  # where Debian and Ubuntu put it
DEMO_TEXT = "A variational autoencoder squeezes sound into a small code. Listen to what comes back."
# share of the corpus, by number of files
KINDS = {"music": 0.45, "speech": 0.25, "sounds": 0.15, "mixture": 0.15}


def find_program(name: str, package: str) -> str:
    """Path of an installed program.

    Raises
    ------
    OSError
        If it is missing; names the package that brings it.
    """
    path = shutil.which(name)
    if path is None:
        raise OSError(f"{name} is not installed; expected it on the PATH. {_hint(package)}")
    return path


def _hint(package: str) -> str:
    return f"On Debian or Ubuntu: apt-get install {package}"


def _render(command: list[str], output: Path) -> np.ndarray:
    """Run a program that writes a sound file; the file as mono samples at 16 kHz."""
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (our own command)
    if done.returncode != 0 or not output.is_file():
        raise OSError(
            f"{Path(command[0]).name} failed with status {done.returncode}: {done.stderr.strip()}"
        )
    samples, rate = soundfile.read(output, dtype="float64", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE, quality="VHQ")


def render_score(score: Score, soundfont: str | Path = SOUNDFONT) -> np.ndarray:
    """The score played by FluidSynth: samples ``[N]`` at 16 kHz.

    Raises
    ------
    OSError
        If FluidSynth or the soundfont is missing, or rendering failed.
    """
    program = find_program("fluidsynth", "fluidsynth")
    if not Path(soundfont).is_file():
        raise OSError(f"no soundfont at {soundfont}. {_hint('fluid-soundfont-gm')}")
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder, "score.mid"), Path(folder, "score.wav")
        midi.write_bytes(midi_bytes(score))
        # -ni: no MIDI input, no shell; float samples cannot clip
        options = ["-ni", "-q", "-g", "0.5", "-r", "44100", "-T", "wav", "-O", "float"]
        lean = ["-o", "synth.dynamic-sample-loading=1"]  # load only the instruments that play
        return _render([program, *options, *lean, "-F", str(wav), str(soundfont), str(midi)], wav)


def render_speech(text: str, voice: str = "en-gb", pitch: int = 50, speed: int = 160) -> np.ndarray:
    """The text spoken by espeak-ng: samples ``[N]`` at 16 kHz.

    Parameters
    ----------
    voice
        A language, or language and variant: ``"en-us+f3"``.
    pitch
        0..99.
    speed
        Words a minute.

    Raises
    ------
    OSError
        If espeak-ng is missing, or does not know the voice.
    """
    program = find_program("espeak-ng", "espeak-ng")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "speech.wav")
        command = [program, "-v", voice, "-p", str(pitch), "-s", str(speed), "-w", str(wav), text]
        return _render(command, wav)


def finish(samples: np.ndarray, peak: float, fade: float = 0.02) -> np.ndarray:
    """Trim silence at both ends, remove DC, fade (seconds), scale to ``peak``; float32 ``[N]``.

    Raises
    ------
    ValueError
        If there is nothing but silence.
    """
    loud = np.flatnonzero(np.abs(samples) > 1e-3 * np.abs(samples).max())
    if len(loud) == 0:
        raise ValueError("got only silence, expected a sound to scale")
    margin = min(round(fade * RATE), len(samples) // 2)
    samples = samples[max(0, loud[0] - margin) : loud[-1] + 1 + margin]
    samples = samples - samples.mean()
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(margin) / margin)
    samples[:margin] *= ramp
    samples[len(samples) - margin :] *= ramp[::-1]
    return (samples * (peak / np.abs(samples).max())).astype(np.float32)


def random_music(rng: Generator, seconds: float, soundfont: str | Path) -> np.ndarray:
    """A random score, played."""
    return render_score(random_score(rng, seconds), soundfont)


def random_speech(rng: Generator, seconds: float) -> np.ndarray:
    """Random sentences by one or two random voices."""
    parts: list[np.ndarray] = []
    voices = []
    for _ in range(int(rng.choice([1, 2]))):
        language, speaker = str(rng.choice(VOICES)), str(rng.choice(SPEAKERS))
        voice = f"{language}+{speaker}" if speaker else language
        voices.append((language, voice, int(rng.integers(15, 90)), int(rng.integers(110, 220))))
    while sum(map(len, parts)) < seconds * RATE:
        language, *how = voices[len(parts) // 2 % len(voices)]
        parts.append(render_speech(random_text(rng, language), *how))
        parts.append(np.zeros(int(RATE * rng.uniform(0, 0.5))))
    return np.concatenate(parts)


def random_sounds(rng: Generator, seconds: float) -> np.ndarray:
    """One kind of sound, or two after and over each other."""
    n = int(seconds * RATE)
    out = np.zeros(n)
    for _ in range(int(rng.choice([1, 1, 2]))):
        sound = SOUNDS[rng.integers(len(SOUNDS))](rng, n)
        out += sound / np.abs(sound).max() * rng.uniform(0.3, 1)
    return out


def corpus_clip(kind: str, rng: Generator, soundfont: str | Path = SOUNDFONT) -> np.ndarray:
    """One clip of 10 to 20 s, float32 ``[N]`` at 16 kHz.

    ``kind`` is ``"music"``, ``"speech"``, ``"sounds"`` or ``"mixture"`` (two of these at once).
    """
    seconds = rng.uniform(10, 18)
    makers: dict[str, Callable[[], np.ndarray]] = {
        "music": lambda: random_music(rng, seconds, soundfont),
        "speech": lambda: random_speech(rng, seconds),
        "sounds": lambda: random_sounds(rng, seconds),
    }
    if kind == "mixture":
        first, second = rng.choice(list(makers), 2, replace=False)
        a, b = (finish(makers[str(name)](), 1.0) for name in (first, second))
        n = min(len(a), len(b))
        samples = a[:n] + b[:n] * 10 ** rng.uniform(-1.2, 0)
    elif kind in makers:
        samples = makers[kind]()
    else:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    # recordings have the response of microphone and room, and noise
    samples = finish(samples[: 20 * RATE], 1.0).astype(np.float64)
    if rng.random() < 0.4:
        samples = equalise(rng, samples)
    if rng.random() < 0.4:
        samples = room(rng, samples)
    if rng.random() < 0.6:
        noise = tilted_noise(rng, len(samples), rng.uniform(-1, 6))
        level = np.abs(samples).max() * 10 ** rng.uniform(-4, -1.6)
        samples = samples + level * noise / noise.std()
    return finish(samples, rng.uniform(0.3, 0.95))


def write_clip(path: Path, samples: np.ndarray) -> None:
    """Write 16-bit FLAC at 16 kHz."""
    soundfile.write(path, samples, RATE, format="FLAC", subtype="PCM_16")


def write_corpus(
    folder: str | Path, minutes: float = 40.0, seed: int = 0, soundfont: str | Path = SOUNDFONT
) -> list[Path]:
    """Render clips into ``folder`` until they last ``minutes``; their paths.

    Clip ``i`` depends on ``seed`` and ``i`` alone, so a longer corpus begins with the shorter one.
    Files of the same name are replaced. ``corpus.json`` records how the corpus was made.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    done = 0.0
    with tqdm(total=round(minutes * 60), unit="s", desc="corpus") as progress:
        while done < minutes * 60:
            rng = np.random.default_rng([seed, len(paths)])
            kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
            samples = corpus_clip(kind, rng, soundfont)
            paths.append(folder / f"{len(paths):04d}_{kind}.flac")
            write_clip(paths[-1], samples)
            done += len(samples) / RATE
            progress.update(round(done) - progress.n)
    record = {"seed": seed, "seconds": round(done, 1), "clips": len(paths), "numpy": np.__version__}
    for program in ("fluidsynth", "espeak-ng"):
        record[program] = program_version(program)
    (folder / "corpus.json").write_text(json.dumps(record, indent=1) + "\n")
    logger.info("%d clips, %.1f minutes in %s", len(paths), done / 60, folder)
    return paths


def program_version(program: str) -> str:
    """First line of the output of ``program --version``."""
    command = [find_program(program, program), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own command)
    line = done.stdout.splitlines()[0].strip()
    return line.split("  Data at:")[0]  # espeak-ng goes on with a path


def demo_clips(soundfont: str | Path = SOUNDFONT) -> dict[str, np.ndarray]:
    """The bundled clips, name -> float32 ``[N]`` at 16 kHz: peak 0.7, faded at the ends."""
    lead = np.zeros(RATE // 50)  # so that the fade at the beginning does not blunt the first kick
    return {
        "demo_ensemble": finish(render_score(ensemble_score(), soundfont)[: 6 * RATE], 0.7),
        "demo_electronic": finish(np.concatenate([lead, electronic()]), 0.7),
        "demo_speech": finish(render_speech(DEMO_TEXT, "en-gb-x-rp", 45, 155), 0.7),
    }


def write_demo(folder: str | Path, soundfont: str | Path = SOUNDFONT) -> list[Path]:
    """Render the bundled clips into ``folder`` as FLAC; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, samples in demo_clips(soundfont).items():
        paths.append(folder / f"{name}.flac")
        write_clip(paths[-1], samples)
    return paths


_folder = click.argument("output_dir", type=click.Path(file_okay=False, path_type=Path))
_soundfont = click.option("--soundfont", default=SOUNDFONT, show_default=True, help="An .sf2 file.")


@click.group(help="Render training audio or the demo clips.")
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")


@main.command(help="Render a training corpus of music, speech and sounds.")
@_folder
@click.option("--minutes", default=40.0, show_default=True, type=click.FloatRange(min=0.1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@_soundfont
def corpus(output_dir: Path, minutes: float, seed: int, soundfont: str) -> None:
    write_corpus(output_dir, minutes, seed, soundfont)


@main.command(help="Render the three bundled demo clips.")
@_folder
@_soundfont
def demo(output_dir: Path, soundfont: str) -> None:
    for path in write_demo(output_dir, soundfont):
        logger.info("%s", path)
