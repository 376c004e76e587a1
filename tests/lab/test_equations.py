"""Equations on pages: pictures, since no script may run there."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from helpers.html_checks import loads_from_elsewhere
from matplotlib.mathtext import MathTextParser
from nbformat.v4 import new_markdown_cell, new_notebook

from vaerecon.lab.reports.pages import draw_equation, to_html
from vaerecon.lab.reports.recording import Run

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture
def page():
    def made_of(*texts: str) -> str:
        notebook = new_notebook(cells=[new_markdown_cell(text) for text in texts])
        stamp = {"notebook": "x", "source_blob": "", "parameters": {}, "device": "", "versions": {},
                 "started": "", "seconds": 0.0}  # fmt: skip
        return to_html(Run("x", notebook, stamp, None))

    return made_of


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_equation_of_the_notebooks_can_be_drawn(path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.sub(r"`[^`]+`", "", text)  # code may hold a dollar
    for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+?)\$", text, re.DOTALL):
        MathTextParser("path").parse(f"${' '.join((block or inline).split())}$")


def test_a_page_has_pictures_of_equations_and_nothing_to_load(page):
    html = page("# x\n\nLet $a_1$ be $b$:\n\n$$\\sum_k \\frac{a_k}{2}$$\n\nCode `$c$` stays.")
    assert html.count("data:image/svg+xml") == 3
    assert 'alt="\\sum_k \\dfrac{a_k}{2}"' in html
    assert "<code>$c$</code>" in html
    assert loads_from_elsewhere(html) == []
    assert draw_equation("a") == draw_equation("a")


def test_what_cannot_be_drawn_stays_readable(page):
    assert "<code>\\nosuchmacro{a} &lt; b</code>" in page("$\\nosuchmacro{a} < b$")
    with pytest.raises(ValueError, match="nosuchmacro"):
        draw_equation(r"\nosuchmacro{a}")
