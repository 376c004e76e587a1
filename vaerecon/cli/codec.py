"""``vaerecon encode`` and ``vaerecon decode``: sound to bits, by the codec of a model, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaerecon.cli.options import model_option
from vaerecon.cli.tables import stop
from vaerecon.utils.console import printable

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@model_option
@click.option("--kbps", default=4.8, show_default=True, help="Rate that is not exceeded.")
@click.option("--method", default="fast", show_default=True, help="That `decode` takes by default.")
@click.option("--seed", default=0, show_default=True, help="Of the random draws of `decode`.")
def encode(source: Path, target: Path, model: str, **settings: Any) -> None:
    """Code SOURCE, a sound file or a folder of them, to TARGET, a .vrec file or a folder."""
    from vaerecon.audio.paths import sounds_below

    found = sounds_below(source)[0] if source.is_dir() else [source]
    _run("encode_file", source, target, found, ".vrec", model, settings)


@click.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@model_option
@click.option("--method", help="[default: the one that the file names]")
@click.option("--seed", type=int, help="[default: that of the file]")
def decode(source: Path, target: Path, model: str, **settings: Any) -> None:
    """Make sound of SOURCE, a .vrec file or a folder of them: TARGET, a .wav file or a folder."""
    found = sorted(source.rglob("*.vrec")) if source.is_dir() else [source]
    _run("decode_file", source, target, found, ".wav", model, settings)


def _run(name: str, source: Path, target: Path, found: list[Path], suffix: str, model: str,
         settings: dict[str, Any]) -> None:  # fmt: skip
    """Call the function for each file; in a folder, one that fails is one line and others go on."""
    from vaerecon.audio.paths import check_path

    check_path(source)
    if not found or not found[0].exists():
        raise FileNotFoundError(
            f"SOURCE: got {source.name!r}: there is no such file, or none in it"
        )
    if found == [source] and target.suffix.lower() != suffix:
        raise ValueError(f"TARGET: got {target.name!r}, expected the name of a {suffix} file")

    from vaerecon import codec
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    own, failed, written = codec.LatentCodec.from_pretrained(model), 0, set()
    pipe = ReconstructionPipeline.from_pretrained(model)
    for file in found:
        to = target if file == source else target / file.relative_to(source).with_suffix(suffix)
        try:
            if to in written:
                raise ValueError(f"{to.name} is already that of another file of this folder")
            head = getattr(codec, name)(file, to, pipe, own, **settings)
        except (ValueError, OSError) as error:
            if file == source:
                raise
            click.echo(f"error: {printable(f'{file.name}: {error}')}", err=True)
            failed += 1
        else:
            written.add(to)
            click.echo(f"{printable(str(to))}: {head.n_samples / 16000:.2f} s, "
                       f"{head.kbps:.2f} kbit/s at step {head.step:.2f}")  # fmt: skip
    if failed:
        stop(f"{failed} of {len(found)} files failed", 1)
