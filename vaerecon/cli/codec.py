"""``vaerecon encode`` and ``vaerecon decode``: sound to bits, by the codec of a model, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaerecon.cli.tables import model_option, stop
from vaerecon.utils.console import printable

if TYPE_CHECKING:
    from vaerecon.codec import Header

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@model_option
@click.option("--kbps", type=float, help="Rate that is not exceeded. [default: 4.8]")
@click.option("--step", type=float, help="Of the quantiser, in place of a rate.")
@click.option("--method", default="fast", show_default=True, help="That `decode` takes by default.")
@click.option("--seed", default=0, show_default=True, help="Of the random draws of `decode`.")
@click.option("--max-length", type=float, help="Read at most this many seconds.")
def encode(source, target, model, kbps, **settings):
    """Code SOURCE, a sound file or a folder of them, to TARGET, a .vrec file or a folder."""
    from vaerecon.audio.folders import sounds_below

    settings["kbps"] = 4.8 if kbps is None and settings["step"] is None else kbps
    sources = sounds_below(source)[0] if source.is_dir() else None
    _run("encode_file", model, list(_pairs(source, target, sources, ".vrec")), settings)


@click.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@model_option
@click.option("--method", help="[default: the one that the file names]")
@click.option("--seed", type=int, help="[default: that of the file]")
def decode(source, target, model, **settings):
    """Make sound of SOURCE, a .vrec file or a folder of them, to TARGET, a .wav file or a folder."""
    sources = sorted(source.rglob("*.vrec")) if source.is_dir() else None
    _run("decode_file", model, list(_pairs(source, target, sources, ".wav")), settings)


def _pairs(
    source: Path, target: Path, found: list[Path] | None, suffix: str
) -> Iterator[tuple[Path, Path]]:
    """Each file, and the one to write."""
    if found is None:
        if target.suffix.lower() != suffix:
            raise ValueError(f"TARGET: got {target.name!r}, expected the name of a {suffix} file")
        yield source, target
    for path in found or []:
        yield path, target / path.relative_to(source).with_suffix(suffix)


def _run(name: str, model: str, pairs: list[tuple[Path, Path]], settings: dict[str, Any]) -> None:
    """Do it for each pair; what fails is one line, and the others go on."""
    if not pairs:
        raise ValueError("SOURCE: got a folder without such files; name another")
    for source, _ in pairs[:1]:
        if not source.is_file():
            raise FileNotFoundError(f"SOURCE: got {source.name!r}, which is not there")
    from vaerecon import codec
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    own = codec.LatentCodec.from_pretrained(model)
    pipe = ReconstructionPipeline.from_pretrained(model)
    failed = 0
    for source, target in pairs:
        try:
            head: Header = getattr(codec, name)(source, target, pipe, own, **settings)
        except (ValueError, OSError) as error:
            if len(pairs) == 1:
                raise
            click.echo(f"error: {printable(source.name)}: {error}", err=True)
            failed += 1
            continue
        click.echo(f"{printable(str(target))}: {head.n_samples / 16000:.2f} s, "
                   f"{head.kbps:.2f} kbit/s at step {head.step:.2f}")  # fmt: skip
    if failed:
        stop(f"{failed} of {len(pairs)} files failed", 1)
