"""All notebooks as a static site: ``python -m vaerecon.lab.reports.site``, or ``make site``.

Each notebook is run with its default parameters and becomes a page of
:mod:`vaerecon.lab.reports.pages`; the index has text from their first cells and pictures from their
outputs. The site opens from a folder and needs no network.
"""

import base64
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
from nbformat import NotebookNode

from vaerecon import __version__
from vaerecon.lab.reports.pages import FOLDER, to_html
from vaerecon.lab.reports.recording import Run
from vaerecon.lab.reports.runs import execute, read_notebook, save, tags
from vaerecon.utils.console import run_command
from vaerecon.utils.files import whole_folder

COVER_TAG = "cover"  # of the cell whose picture is in the index; without it, the first picture
API_LINK = ' The functions behind them: <a href="api/index.html">API reference</a>.'
ENTRY = """<section class="notebook">
<a href="{name}.html"><img src="{name}.png" alt="A picture from this notebook"></a>
<div>
<h2><a href="{name}.html">{title}</a></h2>
{question}
<p>You will learn</p>
{objectives}
</div>
</section>"""


class Introduction(NamedTuple):
    """The opening of a notebook; Markdown."""

    title: str
    question: str  # the paragraph below the title
    objectives: list[str]  # items of the first list


def introduction(notebook: NotebookNode, where: str) -> Introduction:
    """The title, question and list in the Markdown cells before the first code cell.

    Without one of them a ValueError, in which ``where`` names the notebook.
    """
    kinds = [cell.cell_type for cell in notebook.cells]
    opening = notebook.cells[: kinds.index("code") if "code" in kinds else None]
    text = "\n\n".join(cell.source.strip() for cell in opening)
    top = re.search(r"^# +(?P<title>.+)\n+(?P<question>(?:[^\s#-].*\n?)+)", text, re.MULTILINE)
    items = re.search(r"^- .+(?:\n(?!\n).+)*", text, re.MULTILINE)
    if top is None or items is None:
        raise ValueError(
            f"{where}: expected Markdown cells that begin with '# title', a paragraph with the "
            "question and a list of what one will learn, before any code"
        )
    objectives = [" ".join(item.split()) for item in re.split(r"^- ", items[0], flags=re.M)[1:]]
    return Introduction(top["title"].strip(), " ".join(top["question"].split()), objectives)


def cover(notebook: NotebookNode, where: str) -> bytes:
    """The PNG of a notebook for the index: of the cell tagged ``cover``, or else the first one."""
    chosen = [cell for cell in notebook.cells if COVER_TAG in tags(cell)]
    for cell in chosen or notebook.cells:
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                return base64.b64decode(picture)
    raise ValueError(f"{where}: expected a picture among the outputs, to stand for the notebook")


def write_site(runs: Sequence[Run], output: str | Path) -> None:
    """Write the pages of ``runs``, their pictures and ``index.html``: all of them, or nothing.

    The same runs give the same bytes. A notebook without introduction or picture is a ValueError.
    """
    from nbconvert.filters import markdown2html

    entries, titles = [], {}
    with whole_folder(output) as folder:
        for run in runs:
            where = run.stamp["notebook"]
            title, question, objectives = introduction(run.notebook, where)
            titles[run.name] = title
            items = markdown2html("\n".join(f"- {item}" for item in objectives))
            entries.append(ENTRY.format(name=run.name, title=html.escape(title),
                                        question=markdown2html(question), objectives=items)
                           )  # fmt: skip
            (folder / f"{run.name}.png").write_bytes(cover(run.notebook, where))
        for run in runs:
            page = to_html(run).replace("<main>", f"<main>\n{_links(titles, run.name)}", 1)
            (folder / f"{run.name}.html").write_text(page, encoding="utf-8")
        css = (FOLDER / "page.css").read_text(encoding="utf-8")
        index = (FOLDER / "index.html").read_text(encoding="utf-8")
        api = API_LINK if (Path(output) / "api" / "index.html").is_file() else ""  # by `make docs`
        index = index.format(css=css, entries="\n".join(entries), version=__version__, api=api)
        (folder / "index.html").write_text(index, encoding="utf-8")


def _links(titles: dict[str, str], name: str) -> str:
    """Links from one page to the index, the page before and the page after."""
    names = list(titles)
    place = names.index(name)
    found = ['<a href="index.html">All notebooks</a>']
    for arrow, others in (("←", names[:place][-1:]), ("→", names[place + 1 :][:1])):
        found += [f'<a href="{x}.html">{arrow} {html.escape(titles[x])}</a>' for x in others]
    return f"<nav>{' | '.join(found)}</nav>"


@click.command()
@click.option("--output", default=Path("reports/site"), show_default=True,
              type=click.Path(path_type=Path), help="Folder for the pages.")  # fmt: skip
@click.option("--notebooks-dir", default=Path("notebooks"), show_default=True,
              type=click.Path(path_type=Path))  # fmt: skip
@click.option("--timeout", default=1800.0, show_default=True, type=click.FloatRange(min=1),
              help="Seconds that each notebook may take.")  # fmt: skip
def main(output: Path, notebooks_dir: Path, timeout: float) -> None:
    """Run all notebooks and make a static site of them.

    Exit status 3: a notebook did not run to its end. What ran is in <its name>.failed.html.
    """
    paths = sorted(notebooks_dir.glob("*.ipynb"))
    if not paths:
        raise click.UsageError(f"--notebooks-dir: got {str(notebooks_dir)!r}: no notebooks there")
    for path in paths:
        introduction(read_notebook(path)[1], path.name)  # first, since running takes minutes
    runs = []
    for path in paths:
        click.echo(f"{path.stem} ...")
        run = execute(path, timeout=timeout)
        if run.failure is not None:
            save(run, output)
            click.echo(f"vaerecon: {run.failure}; no site was written", err=True)
            sys.exit(3)
        runs.append(run)
    write_site(runs, output)
    for old in output.glob("*.failed.*"):
        old.unlink()
    click.echo(f"Written: {output / 'index.html'}")


if __name__ == "__main__":
    run_command(main)
