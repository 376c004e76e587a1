"""``vaerecon encode`` and ``vaerecon decode``: sound to a file of its latent, and back."""

from pathlib import Path
from typing import Any

import click

from vaerecon.cli.options import PATH, model_option
from vaerecon.cli.tables import stop
from vaerecon.utils.console import printable

LATENTS = ".safetensors"
CODED = [".vrec", LATENTS]


@click.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@model_option
@click.option("--kbps", type=float, help=".vrec: rate that is not exceeded. [default: 4.8]")
@click.option("--method", help=".vrec: that `decode` takes by default. [default: fast]")
@click.option("--seed", type=int, help=".vrec: of the random draws of `decode`. [default: 0]")
@click.option("--latents", is_flag=True, help="Write .safetensors files for a folder.")
@click.option("--scaled", is_flag=True,
              help=".safetensors: the latent as AudioLDM2's UNet takes it; implies --latents.",
              )  # fmt: skip
def encode(
    source: Path, target: Path, model: str, latents: bool, scaled: bool, **bits: Any
) -> None:
    """Encode SOURCE, a sound file or a folder of them, to TARGET, a file or a folder.

    A .vrec file holds the latent as few bits, by the codec; a .safetensors file holds it as it is:
    mean and deviation of the posterior, for who edits or generates latents.
    """
    from vaerecon.audio.paths import sounds_below

    settings = {name: value for name, value in bits.items() if value is not None}
    suffixes = CODED
    if latents or scaled or (target.suffix.lower() == LATENTS and not source.is_dir()):
        if settings:
            raise ValueError(f"--{min(settings)}: is for .vrec files, not for {LATENTS}")
        suffixes, settings = [LATENTS], {"scaled": scaled}
    elif "kbps" not in settings:
        settings["kbps"] = 4.8
    found = sounds_below(source)[0] if source.is_dir() else [source]
    _run("encode", source, target, found, suffixes, model, settings)


@click.command()
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@model_option
@click.option("--method", help="[default: the one that a .vrec file names, else fast]")
@click.option("--seed", type=int, help="[default: that of a .vrec file, else 0]")
def decode(source: Path, target: Path, model: str, **settings: Any) -> None:
    """Make sound of SOURCE, a .vrec or .safetensors file of `encode`, or a folder of them.

    TARGET is a .wav file or a folder.
    """
    coded = (path for path in sorted(source.rglob("*")) if path.suffix.lower() in CODED)
    found = list(coded) if source.is_dir() else [source]
    _run("decode", source, target, found, [".wav"], model, settings)


def _run(name: str, source: Path, target: Path, found: list[Path], suffixes: list[str],
         model: str, settings: dict[str, Any]) -> None:  # fmt: skip
    """Call the function for each file; in a folder, one that fails is one line and others go on."""
    from vaerecon.audio.paths import check_path

    check_path(source)
    if not found or not found[0].exists():
        raise FileNotFoundError(
            f"SOURCE: got {source.name!r}: there is no such file, or none in it"
        )
    if found == [source] and target.suffix.lower() not in suffixes:
        expected = " or ".join(suffixes)
        raise ValueError(f"TARGET: got {target.name!r}, expected the name of a {expected} file")

    from vaerecon import codec
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    pairs = [(file, target if file == source else
              target / file.relative_to(source).with_suffix(suffixes[0]))
             for file in found]  # fmt: skip
    coded = {pair for pair in pairs if LATENTS not in (path.suffix.lower() for path in pair)}
    own = codec.LatentCodec.from_pretrained(model) if coded else None
    pipe, failed, written = ReconstructionPipeline.from_pretrained(model), 0, set()
    for file, to in pairs:
        try:
            if to in written:
                raise ValueError(f"{to.name} is already that of another file of this folder")
            if (file, to) not in coded:
                n, shape = getattr(codec, f"{name}_latents")(file, to, pipe, **settings)
                facts = f"latent {shape}"
            else:
                head = getattr(codec, f"{name}_file")(file, to, pipe, own, **settings)
                n, facts = head.n_samples, f"{head.kbps:.2f} kbit/s at step {head.step:.2f}"
        except (ValueError, OSError) as error:
            if file == source:
                raise
            click.echo(f"error: {printable(f'{file.name}: {error}')}", err=True)
            failed += 1
        else:
            written.add(to)
            click.echo(f"{printable(str(to))}: {n / 16000:.2f} s, {facts}")
    if failed:
        stop(f"{failed} of {len(found)} files failed", 1)
