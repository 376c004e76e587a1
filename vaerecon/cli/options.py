"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vaerecon.cli.config import PLUGINS
from vaerecon.utils.plugins import load_plugin

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)


def with_options(*options: Decorator) -> Decorator:
    """A decorator that adds ``options``, which help then lists in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _only_one(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str:
    if len(values) > 1:  # click would take the last one silently
        raise click.BadParameter(f"got {', '.join(values)}, expected one; run the command for each")
    return values[0]


def _load(ctx: click.Context, option: click.Parameter, paths: tuple[str, ...]) -> None:
    for path in paths:
        load_plugin(path)
    ctx.meta[PLUGINS] = paths


# eager: the names of other options may come from it
plugin_option = click.option("--plugin", multiple=True, type=click.Path(), is_eager=True,
                             expose_value=False, callback=_load,
                             help="Python file with methods or metrics. May be repeated.",
                             )  # fmt: skip
_MODEL = "tiny, music, speech, large, a folder, or a hub id (owner/name)."
model_option = click.option("--model", multiple=True, default=["tiny"], callback=_only_one,
                            help=_MODEL)  # fmt: skip
models_option = click.option("--model", multiple=True, default=["tiny"],
                             help=f"{_MODEL} May be repeated.")  # fmt: skip
max_length_option = click.option("--max-length", type=float,
                                 help="Read at most this many seconds of a clip.")  # fmt: skip
revision_option = click.option("--revision", help="Branch, tag or commit of a hub id.")
device_option = click.option("--device", type=click.Choice(["cpu", "cuda", "mps"]),
                             help="Where to run. [default: the best there is]")  # fmt: skip
seed_option = click.option("--seed", default=0, help="Seed of every random draw.")
