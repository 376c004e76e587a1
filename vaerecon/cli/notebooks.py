"""``vaerecon report``, ``vaerecon check`` and ``vaerecon lab``: the commands that run notebooks.

Nothing here imports torch or papermill until the input has been found to be good.
"""

import importlib.util
from importlib import import_module
from pathlib import Path

import click

from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.cli.options import PATH, model_option, plugin_option, seed_option
from vaerecon.cli.tables import new_console, plain, stop
from vaerecon.utils.console import printable

TABLES = (".parquet", ".csv")
OF_A_CLIP, OF_A_TABLE = ("model", "methods", "max_length", "seed"), ("by", "against")


@click.command()
@click.argument("source", metavar="[CLIP|TABLE]", required=False, type=PATH)
@click.option("--output", default=Path("report.html"), type=PATH, help="The page to write.")
@model_option
@plugin_option
@click.option("--methods", default="all", help="Names with commas between, or 'all'.")
@click.option("--max-length", type=float, default=30.0, help="Read at most this many seconds.")
@seed_option
@click.option("--by", default="", show_default=False, metavar="COLUMN",
              help="Of a table: groups to compare. [default: domain or model]")  # fmt: skip
@click.option("--against", default="", show_default=False, metavar="METHOD",
              help="Of a table: what the others are compared with. [default: the recommended one]",
              )  # fmt: skip
@click.option("--timeout", default=1800.0, type=click.FloatRange(min=1),
              help="Seconds that it may take.")  # fmt: skip
@click.pass_context
def report(ctx, source, output, timeout, **options):
    """Write one HTML page, sounds in it, that needs no network: about a CLIP or a TABLE.

    Of a clip it compares methods. Of a .parquet or .csv table that `compare`, `sweep` or `evaluate`
    wrote it shows means, spread, differences, and the worst and best clips. Exit status 3: it
    failed, and <output>.failed.html has the part before the error.
    """
    of_table = source is not None and source.suffix.lower() in TABLES
    mine, others = (OF_A_TABLE, OF_A_CLIP) if of_table else (OF_A_CLIP, OF_A_TABLE)
    for name in others:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            kind = "clip, not a table" if of_table else "table (.parquet or .csv), not a clip"
            raise click.UsageError(f"--{name.replace('_', '-')} is for a report on a {kind}")
    _need_packages("papermill", "nbconvert")
    source = source or demo_clips()[DEMO_CLIP]
    if not of_table:
        _check_clip(source, options["methods"], options["model"], options["max_length"])
    from vaerecon.lab.reports.recording import NotebookError
    from vaerecon.lab.reports.report import write_report, write_table_report

    write = write_table_report if of_table else write_report
    try:
        with new_console().status(f"{plain(source.name)} ..."):
            write(source, output, **{name: options[name] for name in mine}, timeout=timeout)
    except NotebookError as error:
        stop(str(error), 3)
    click.echo(f"Written: {output} ({output.stat().st_size / 1e6:.1f} MB)")


def _check_clip(clip, methods, model, max_length) -> None:
    """Refuse what cannot be, and say how much of the clip is read."""
    from vaerecon.audio.clip import load_audio
    from vaerecon.methods import select_methods
    from vaerecon.models.checkpoints import check_hub
    from vaerecon.models.sources import check_source

    select_methods(methods)
    check_source(model)
    loaded = load_audio(clip, max_length=max_length)
    check_hub(model)
    from vaerecon.lab.reports.report import file_length, heard_text

    new_console().print(plain(heard_text(clip.name, loaded.duration, file_length(clip))))


@click.command()
@click.argument("notebooks", nargs=-1)
@click.option("--update", is_flag=True, help="Take what is measured now as the new baseline.")
@click.option("--notebooks-dir", type=PATH,
              help="With a checks.yaml in it. [default: notebooks; the installed ones if there are "
                   "none]")  # fmt: skip
@click.option("--baselines", type=PATH,
              help="One JSON a notebook. [default: baselines in the folder of the notebooks, else "
                   "tests/baselines]")  # fmt: skip
@click.option("--output-dir", default=Path("reports"), type=PATH,
              help="For the executed notebooks.")  # fmt: skip
def check(notebooks, update, notebooks_dir, baselines, output_dir):
    """Run NOTEBOOKS (default: all) and compare what they measure with the baselines.

    Exit status 1: a number moved by more than its tolerance. 3: a notebook did not run to its end.
    """
    from vaerecon.lab.reports import baselines as known
    from vaerecon.lab.reports.shipped import installed_notebooks

    _need_packages("papermill", "nbconvert")
    installed = None if (Path("notebooks") / known.CHECKS).exists() else installed_notebooks()
    if update and installed and notebooks_dir is None:
        raise ValueError("--update: got the installed notebooks; `vaerecon lab --copy-only` makes "
                         "a copy, which --notebooks-dir names")  # fmt: skip
    notebooks_dir = notebooks_dir or installed or Path("notebooks")
    own = notebooks_dir / "baselines"
    baselines = baselines or (own if own.is_dir() else Path("tests/baselines"))
    checks = known.read_checks(notebooks_dir, notebooks)
    before = {entry.name: known.read_baseline(baselines, entry.name) for entry in checks}
    runs, failures = _run_checks(checks, output_dir)
    if update and not failures:
        renewed = {name: known.renew(before[name], run) for name, run in runs.items()}
        known.write_baselines(baselines, renewed)
        click.echo(f"Written to {baselines}: {', '.join(f'{name}.json' for name in renewed)}")
        return
    drifted = 0
    for name, run in runs.items():
        if drifts := known.compare(before[name], run):
            drifted += len(drifts)
            _show_drifts(name, drifts, known.other_libraries(before[name], run))
    if failures:
        kept = "; no baseline was changed" if update else ""
        stop(f"did not run to their end: {', '.join(failures)}{kept}", 3)
    if drifted:
        stop(f"{drifted} not as in the baselines; if that is meant: vaerecon check --update", 1)
    click.echo("All as in the baselines.")


@click.command()
@click.argument("folder", default="vaerecon-notebooks", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace files in FOLDER that were changed.")
@click.option("--copy-only", is_flag=True, help="Do not start JupyterLab.")
@click.option("--no-browser", is_flag=True, help="Start JupyterLab without opening a browser.")
def lab(folder, overwrite, copy_only, no_browser):
    """Copy the notebooks into FOLDER (vaerecon-notebooks) and open them in JupyterLab.

    A file there that was changed stays as it is.
    """
    if not copy_only:
        _need_packages("jupyterlab", why="opens JupyterLab")
    from vaerecon.lab.reports.shipped import copy_notebooks

    stayed = copy_notebooks(folder, overwrite)
    click.echo(f"Notebooks: {printable(str(folder))}")
    if stayed:
        click.echo(f"Not as they were shipped, and kept (--overwrite replaces them): "
                   f"{', '.join(stayed)}")  # fmt: skip
    if not copy_only:
        app = import_module("jupyterlab.labapp").LabApp  # of an extra
        app.launch_instance([f"--notebook-dir={folder}", *(["--no-browser"] if no_browser else [])])


def _run_checks(checks, output_dir):
    """Run each; name to run of those that ended, and names of the others."""
    from vaerecon.lab.reports.recording import NotebookError
    from vaerecon.lab.reports.runs import run_notebook

    runs, failures = {}, []
    for entry in checks:
        try:
            with new_console().status(f"{entry.name} ..."):
                run = run_notebook(entry.path, entry.parameters, output_dir,
                                   timeout=entry.timeout, files=entry.files, cpu=True)  # fmt: skip
        except NotebookError as error:
            failures.append(entry.name)
            click.echo(f"error: {error}", err=True)
            continue
        runs[entry.name] = run
        click.echo(f"{entry.name}: {len(run.records)} numbers, {run.stamp['seconds']:.0f} s")
    return runs, failures


def _show_drifts(name, drifts, differences) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, title=f"\n{name}: not as in the baseline", title_justify="left")
    for column in ("number", "baseline", "now", "moved by", "allowed", "because"):
        table.add_column(column, no_wrap=column == "number")
    for drift in drifts:
        table.add_row(*map(Text, drift))  # as they are, no markup
    new_console().print(table)
    if differences:
        click.echo(f"The baseline was made with {'; '.join(differences)}.")


def _need_packages(*names: str, why: str = "runs notebooks") -> None:
    """Say at once what is missing, before anything is loaded."""
    if any(importlib.util.find_spec(name) is None for name in names):
        raise click.UsageError(
            f"this command {why}, and {' or '.join(names)} is not installed: "
            "`pip install -e '.[notebooks]'` in a checkout of vaerecon brings what it needs"
        )
