"""Options that several commands share; ``--config`` reads all of a command's from a file.

Keys of the file are the long names of the options, and the names of the arguments. Values are text
that the option checks, as on the command line; what is given there overrides the file.
"""

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from vaerecon import __version__
from vaerecon.utils.files import whole_file
from vaerecon.utils.plugins import load_plugin

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
PLUGINS = "vaerecon.plugins"  # in a context's meta
NOT_KEPT = ("config", "resume", "overwrite")  # they are about one run


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


def _parameters(command: click.Command) -> dict[str, click.Parameter]:
    """Options and arguments by their key in a file."""
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    return {(p.opts[0].lstrip("-") if isinstance(p, click.Option) else str(p.name)): p
            for p in shown}  # fmt: skip


def _read(ctx: click.Context, option: click.Parameter, path: Path | None) -> None:
    """Let the file's values be the defaults of the command."""
    if path is None:
        return
    try:
        # every value as text, so that `no` and 1e-3 mean what they mean in a shell
        given = yaml.BaseLoader(path.read_text(encoding="utf-8")).get_single_data()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"--config: cannot read {path.name!r} as YAML: {reason}") from None
    if not isinstance(given, dict | None):
        raise ValueError(f"--config: got {path.name!r}, expected lines such as 'seed: 1' in it")
    known, found = _parameters(ctx.command), {}
    for name, value in (given or {}).items():
        key = str(name).replace("_", "-")
        if key not in known or key == "config":
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"--config: got {name!r} in {path.name!r}, expected options of "
                             f"{ctx.command.name}: {', '.join(known)}{hint}")  # fmt: skip
        if value != "":
            found[str(known[key].name)] = _as_typed(known[key], f"{path.name}, {name}", value)
    ctx.default_map = found


def _as_typed(parameter: click.Parameter, where: str, value: Any) -> str | list[str]:
    """A value as it stands on a command line: a mapping as NAME=VALUE,..., a list with commas."""
    many = parameter.multiple or parameter.nargs == -1
    if isinstance(value, dict) and many:
        value = [f"{k}={','.join([v] if isinstance(v, str) else v)}" for k, v in value.items()]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"--config: got {value!r} for {where}, expected a value or a list of them")
    return texts if many else ",".join(texts)


config_option = click.option("--config", type=click.Path(path_type=Path), is_eager=True,
                             expose_value=False, callback=_read,
                             help="YAML file of options by their long names; the command line goes "
                                  "before it.")  # fmt: skip


def keep_settings(path: Path, replace: bool = True) -> None:
    """Write what the running command was given, as ``--config`` reads it."""
    if path.is_dir():
        raise IsADirectoryError(f"settings: cannot write {path.name!r}, which is a folder")
    if path.exists() and not replace:
        return
    ctx = click.get_current_context()
    values = {"plugin": ctx.meta.get(PLUGINS, []), **ctx.params}
    used = {key: value for key, p in _parameters(ctx.command).items()
            if key not in NOT_KEPT and (value := values.get(str(p.name))) is not None}  # fmt: skip
    plain = json.loads(json.dumps(used, default=str))  # tuples as lists, paths as text
    text = yaml.safe_dump(plain, allow_unicode=True, sort_keys=False)
    with whole_file(path) as scratch:
        scratch.write_text(f"# vaerecon {__version__}: {ctx.command_path} --config {path.name}\n"
                           f"{text}", encoding="utf-8")  # fmt: skip
