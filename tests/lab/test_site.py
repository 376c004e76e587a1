"""The static site: what its landing page says and shows, and that every link leads somewhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pdoc
import pytest
from helpers import in_process
from matplotlib.image import imsave
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import vaerecon
from vaerecon.lab.reports.runs import execute
from vaerecon.lab.reports.site import cover, introduction, main, write_site

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OPENING = """# {title}

**Is it *one* line,
or two?**

You will learn

- to count `lines`
  that go on,
- nothing else.

**Time:** a second."""


def picture(height: int) -> str:
    """A cell that shows a PNG; matplotlib would take the kernel seconds to import."""
    imsave(file := io.BytesIO(), [[0.0]] * height, format="png")
    return f"from IPython.display import Image\nImage({file.getvalue()!r})"


def write_notebook(path: Path, title: str, *code: str, link: str = "") -> Path:
    """A notebook with code cells; the last of them is tagged as the cover."""
    cells = [new_markdown_cell(OPENING.format(title=title)), *map(new_code_cell, code)]
    cells[-1].metadata.tags = ["cover"]
    nbformat.write(new_notebook(cells=[*cells, new_markdown_cell(link)]), path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    link = "**Next:** [two](02_two.ipynb), and [elsewhere](https://example.org/)."
    one = write_notebook(folder / "01_one.ipynb", "One <line>", picture(1), picture(2), link=link)
    two = write_notebook(folder / "02_two.ipynb", "Two", picture(1))
    found = [execute(one), execute(two)]
    assert [run.failure for run in found] == [None, None]
    return found


@pytest.fixture(scope="module")
def site(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "site"
    write_site(runs, folder)
    return folder


class Page(HTMLParser):
    """What a page links to, and what it loads by itself."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.anchors: list[str] = []  # links to a place in the page
        self.places: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        text = path.read_text(encoding="utf-8")
        self.feed(text)
        self.loaded += re.findall(r"url\(\s*['\"]?([^'\")]+)", text)
        self.loaded += re.findall(r"@import\s+['\"]?([^'\";]+)", text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.places.append(value)
            elif name == "href" and tag == "a" and value.startswith("#"):
                self.anchors.append(value[1:])
            elif name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("src", "href", "srcset", "data", "poster", "background", "action"):
                self.loaded.append(value)


def pictures(run) -> list[bytes]:
    """The PNGs among a run's outputs, in order."""
    outputs = [output for cell in run.notebook.cells for output in cell.get("outputs", [])]
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(picture) for picture in found if picture]


# --- what a notebook says of itself ---------------------------------------------------------------


def test_the_introduction_is_read_from_the_first_cells():
    cells = [new_markdown_cell(OPENING.format(title="A title")), new_code_cell("1")]
    found = introduction(new_notebook(cells=cells), "a.ipynb")
    assert found.title == "A title"
    assert found.question == "**Is it *one* line, or two?**"
    assert found.objectives == ["to count `lines` that go on,", "nothing else."]


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [new_code_cell("1"), new_markdown_cell(OPENING.format(title="Too late"))],
        [new_markdown_cell("## No title\n\nA question?\n\n- a\n- b")],
        [new_markdown_cell("# No question\n\n- a\n- b")],
        [new_markdown_cell("# No list\n\nA question?")],
    ],
    ids=["empty", "after code", "no title", "no question", "no list"],
)
def test_a_notebook_without_an_introduction_is_refused(cells):
    with pytest.raises(ValueError, match=r"a\.ipynb: expected Markdown cells"):
        introduction(new_notebook(cells=cells), "a.ipynb")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_kit_s_notebooks_introduce_themselves(path):
    found = introduction(nbformat.read(path, as_version=4), path.name)
    assert "?" in found.title + found.question
    assert 3 <= len(found.objectives) <= 5
    assert not re.search(r"^[-#]|\n", found.question)


# --- the pictures ---------------------------------------------------------------------------------


@pytest.mark.process
def test_the_cover_is_the_tagged_cell_s_picture_or_the_first(runs):
    one = runs[0]
    first, second = pictures(one)
    assert first != second
    assert cover(one.notebook, "one") == second
    untagged = nbformat.from_dict(one.notebook)
    for cell in untagged.cells:
        cell.metadata.pop("tags", None)
    assert cover(untagged, "one") == first


@pytest.mark.process
def test_a_notebook_without_a_picture_gives_no_site(runs, tmp_path):
    bare = nbformat.from_dict(runs[1].notebook)
    for cell in bare.cells:
        cell.pop("outputs", None)
    with pytest.raises(ValueError, match="two: expected a picture"):
        cover(bare, "two")


# --- the site -------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_landing_page_shows_every_notebook(site, runs):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "One &lt;line&gt;" in text
    assert "<strong>Is it <em>one</em> line, or two?</strong>" in text
    assert "<li>to count <code>lines</code> that go on,</li>" in text
    page = Page(site / "index.html")
    assert page.loaded == ["01_one.png", "02_two.png"]
    assert set(page.links) == {"01_one.html", "02_two.html"}
    assert (site / "01_one.png").read_bytes() == pictures(runs[0])[1]
    assert (site / "02_two.png").read_bytes() == pictures(runs[1])[0]


@pytest.mark.process
def test_every_page_leads_to_the_others(site):
    one, two = Page(site / "01_one.html"), Page(site / "02_two.html")
    assert one.links == ["index.html", "02_two.html", "02_two.html", "https://example.org/"]
    assert two.links == ["index.html", "01_one.html"]


@pytest.mark.process
def test_nothing_is_missing_and_nothing_comes_from_elsewhere(site):
    pages = sorted(site.glob("*.html"))
    assert len(pages) == 3
    for path in pages:
        page = Page(path)
        assert not {"script", "iframe", "link", "object", "embed", "base"} & set(page.tags)
        assert set(page.anchors) <= set(page.places)
        local = [link for link in page.links if not link.startswith("https://")]
        for target in [*local, *page.loaded]:
            assert target.startswith("data:") or (site / target).is_file(), target


@pytest.mark.process
def test_the_same_runs_give_the_same_bytes(site, runs, tmp_path):
    write_site(runs, tmp_path / "again")
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in site.iterdir()}


# --- the command ----------------------------------------------------------------------------------


def make_site(notebooks: Path, output: Path) -> in_process.Done:
    args = ["--output", output, "--notebooks-dir", notebooks]
    return in_process.run(*args, cwd=notebooks, command=main)


@pytest.mark.process
def test_the_command_runs_all_notebooks_or_writes_no_page(tmp_path):
    broken = write_notebook(tmp_path / "02_two.ipynb", "Two", "1 / 0")
    write_notebook(tmp_path / "01_one.ipynb", "One", "1")
    stopped = make_site(tmp_path, tmp_path / "site")
    assert stopped.status == 3
    assert "ZeroDivisionError" in stopped.stderr
    left = {path.suffixes[0] for path in (tmp_path / "site").iterdir()}
    assert left == {".failed"}

    broken.unlink()
    write_notebook(tmp_path / "01_one.ipynb", "One", picture(1))
    done = make_site(tmp_path, tmp_path / "site")
    assert done.status == 0, done.stderr
    names = {path.name for path in (tmp_path / "site").iterdir()}
    assert names == {"index.html", "01_one.html", "01_one.png"}


def test_the_command_refuses_what_is_no_set_of_notebooks(tmp_path):
    empty = make_site(tmp_path, tmp_path / "site")
    assert empty.status == 2
    assert "no notebooks there" in empty.stderr
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "01_one.ipynb")
    untitled = make_site(tmp_path, tmp_path / "site")
    assert untitled.status == 2
    assert "01_one.ipynb: expected Markdown cells" in untitled.stderr
    assert not (tmp_path / "site").exists()


# --- the API reference beside the pages -----------------------------------------------------------


@pytest.mark.process
def test_the_api_reference_is_linked_and_loads_nothing(runs, tmp_path):
    write_site(runs, tmp_path / "site")
    assert "api/" not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    pdoc.render.configure(docformat="numpy")  # as `make docs` calls it
    pdoc.pdoc("vaerecon", output_directory=tmp_path / "site" / "api")
    write_site(runs, tmp_path / "site")
    assert 'href="api/index.html"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    pages = list((tmp_path / "site" / "api").rglob("*.html"))
    assert len(pages) > 3
    for path in pages:
        assert [url for url in Page(path).loaded if url.startswith(("http:", "https:", "//"))] == []
    text = (tmp_path / "site" / "api" / "vaerecon.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in text for name in vaerecon.__all__ if name[0].isupper())
