"""``vaerecon stream``: sound through the models while it is being made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from vaerecon.cli.options import max_length_option, model_option
from vaerecon.utils.console import printable

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.option("--input", "source", metavar="mic[:NAME]|FILE",
              help="[default: mic, or a bundled clip with --simulate]")  # fmt: skip
@click.option("--output", "target", metavar="speaker[:NAME]|FILE",
              help="[default: speaker, or nothing with --simulate]")  # fmt: skip
@click.option("--list-devices", is_flag=True, help="Name the sound cards.")
@click.option("--block", default=0.04, help="Seconds that are computed at once.")
@click.option("--buffer", default=1, type=click.IntRange(1, 8),
              help="Blocks under way: more latency, fewer late blocks.")  # fmt: skip
@click.option("--look-ahead", default=0.08,
              help="Seconds of the future that encoder and decoder see.")  # fmt: skip
@click.option("--method", default="fast", help="fast, griffinlim or vocoder.")
@click.option("--around-vae", is_flag=True, help="From the sound's own mel: less latency.")
@click.option("--gain", type=float, help="Factor to a peak of 0.5. [default: a running peak]")
@click.option("--simulate", is_flag=True, help="A file at real speed, without a sound card.")
@model_option
@max_length_option
def stream(
    source: str | None, target: str | None, list_devices: bool, simulate: bool, model: str,
    max_length: float | None, around_vae: bool, buffer: int, **settings: Any,
) -> None:  # fmt: skip
    """Send sound through the VAE and back, block by block; say how late it is.

    From file to file it goes as fast as it can, and the latency is taken off. With a sound card it
    goes on until the file ends, --max-length or Ctrl-C; wear headphones, or the microphone hears
    the speaker.
    """
    from vaerecon.audio.clip import load_audio
    from vaerecon.bundled import DEMO_CLIP, demo_clips
    from vaerecon.streaming import live

    if list_devices:
        click.echo(live.sound_cards().query_devices())
        return
    source = source or (str(demo_clips()[DEMO_CLIP]) if simulate else "mic")
    mic, speaker = _name(source, "mic"), _name(target or ("" if simulate else "speaker"), "speaker")
    used = mic is not None or speaker is not None
    if simulate and used:
        raise ValueError("--simulate: got a sound card, expected files; it needs no card")
    if target and speaker is None and not target.lower().endswith(".wav"):
        raise ValueError(f"--output: got {target!r}, expected speaker, speaker:NAME or a .wav file")
    card = live.sound_cards() if used else None
    rate = _rate(card, mic, speaker) if card else 16000
    samples: Any = None  # of a microphone
    if mic is None:
        samples = load_audio(source, max_length=max_length, sample_rate=rate).samples
    made = _stream(model, through_vae=not around_vae, sample_rate=rate, **settings)
    stages = ", ".join(f"{k} {1000 * v:.0f}" for k, v in made.latency_by_stage.items())
    click.echo(f"latency {1000 * made.latency / rate:.0f} ms: {stages}")
    with _wav_file(target if speaker is None else None, rate) as write:
        if target and not used and not simulate:
            write(live.whole_sound(made, samples))
            return
        line = live.Line(made, buffer)
        click.echo(f"and {1000 * line.latency / rate:.0f} ms of blocks that are always under way")
        blocks: Any = None
        if samples is not None:
            blocks = live.blocks_of(samples, line.size, made.latency + line.latency)
        try:
            if simulate:
                live.at_real_speed(line, blocks, write)
            else:
                with _errors(card):
                    live.at_sound_card(card, line, mic, speaker, blocks, write, max_length)
        except KeyboardInterrupt:
            if mic is None:  # a microphone has no other end
                raise
        finally:
            click.echo(line.report())


def _name(given: str, kind: str) -> str | None:
    """What follows ``mic:`` or ``speaker:``, "" for the system's own; None for a file."""
    head, _, name = given.partition(":")
    return name if head == kind else None


@contextlib.contextmanager
def _errors(card: Any) -> Iterator[None]:
    """PortAudio's errors in one line."""
    try:
        yield
    except (card.PortAudioError, ValueError) as error:
        hint = "`vaerecon stream --list-devices` names what there is"
        raise OSError(f"sound card: {error}; {hint}") from error


def _rate(card: Any, mic: str | None, speaker: str | None) -> int:
    """The sample rate at which the card runs by itself."""
    name, kind = (speaker, "output") if mic is None else (mic, "input")
    with _errors(card):
        return round(card.query_devices(name or None, kind)["default_samplerate"])


def _stream(model: str, **settings: Any) -> Any:
    """The stream; a model without statistics is measured on the bundled clips first."""
    from vaerecon.bundled import demo_clips
    from vaerecon.pipeline.pipeline import ReconstructionPipeline
    from vaerecon.streaming.stream import Stream

    pipe = ReconstructionPipeline.from_pretrained(model)
    if settings["through_vae"] and pipe.fixed_norms() is None:
        click.echo("no statistics of the VAE's normalisations: taken from the bundled clips; for "
                   "better ones: pipe.calibrate(clips), save_pretrained", err=True)  # fmt: skip
        pipe.calibrate(demo_clips().values())
    return Stream(pipe, **settings)


@contextlib.contextmanager
def _wav_file(target: str | None, rate: int) -> Iterator[Callable[[np.ndarray], object]]:
    """A function that adds samples to a WAV file, or drops them if there is no ``target``."""
    if not target:
        yield lambda samples: None
        return
    from vaerecon.audio.clip import wav_header
    from vaerecon.utils.files import whole_file

    with whole_file(target) as path, open(path, "wb") as file:
        start = file.write(wav_header(0, rate))
        yield lambda samples: file.write(samples.astype("<f4", copy=False).data)
        count = (file.tell() - start) // 4
        file.seek(0)
        file.write(wav_header(count, rate))
    click.echo(f"{printable(target)}: {count / rate:.2f} s")
