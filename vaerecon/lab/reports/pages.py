"""An executed notebook as one HTML page that needs no network; its only script is the player's.

nbconvert turns cells into HTML; its page templates load MathJax, require.js, mermaid and widgets
from other servers, so the page has its own template (``page.html.j2``). Its
Content-Security-Policy forbids a browser to load anything, and to run another script. Equations
are drawn by matplotlib's mathtext; what it does not know, such as ``cases``, is shown as LaTeX.
"""

import base64
import copy
import hashlib
import io
import logging
import re
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import pass_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from vaerecon.lab.reports.recording import Run

FOLDER = Path(__file__).parent
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
NOTEBOOK_LINK = re.compile(r'<a href="([\w-]+)\.ipynb">(.*?)</a>', re.DOTALL)
DARK = "@media screen and (prefers-color-scheme: dark)"
SECTION = re.compile(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"')
FONT_SIZE = 12.0  # points; of the font that a picture of an equation is drawn with
WIDGET_NOTE = '<p class="widget-note">In JupyterLab there is a control here to play with.</p>'


def to_html(run: Run, *, hide_code: bool = False, subject: str | None = None) -> str:
    """A run as one page.

    ``hide_code`` leaves out the code; ``subject`` is the heading, without one the notebook's own.
    """
    from vaerecon.lab.listening.player import player_code, player_script  # loads torch

    notebook = copy.deepcopy(run.notebook)
    template = (FOLDER / "page.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(raw_template=template, exclude_input=hide_code)
    computed = MarkdownWithMath(renderer=IPythonRenderer(escape=True, exclude_anchor_links=True))
    exporter.register_filter("computed2html", computed.render)
    exporter.register_filter("scrollable", _scrollable)
    exporter.register_filter("markdown2html", markdown2html)
    exporter.log.setLevel(logging.ERROR)  # it warns of every picture without a description
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = hashlib.sha256(player_script().encode()).digest()
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# +(.+)$", text, re.MULTILINE)
    page = {
        "title": subject or (heading[1].strip() if heading else run.name),
        "subject": subject,
        "css": f"{css}{_code_colors('default')}\n{DARK} {{ {_code_colors('github-dark')} }}",
        "failure": run.failure,
        "facts": _facts(run.stamp),
        "script_hash": base64.b64encode(script).decode("ascii"),
    }
    html, _ = exporter.from_notebook_node(notebook, resources={"page": page})
    html = html.replace("</h1>", f"</h1>\n{_contents(html)}", 1)
    if player_code() in html:  # in the output of every player
        cells, body, foot = html.replace(player_code(), "").rpartition("</body>")
        html = f"{cells}{player_code()}\n{body}{foot}"
    # links to other notebooks: their pages stand beside this one, unless it stands alone
    return NOTEBOOK_LINK.sub(r"\2" if hide_code else r'<a href="\1.html">\2</a>', html)


def _code_colors(style: str) -> str:
    from pygments.formatters import HtmlFormatter

    colors: str = HtmlFormatter(style=style).get_style_defs(".highlight")
    return re.sub(r"(\.highlight) \{[^}]*\}", r"\1 { background: none }", colors)


def _contents(html: str) -> str:
    """Links to the sections of a page, if it has several."""
    sections = SECTION.findall(html)
    links = "".join(f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title in sections)
    head = '<nav class="contents" aria-label="Contents"><ul>'
    return f"{head}{links}</ul></nav>" if len(sections) > 2 else ""


def _scrollable(html: str) -> str:
    """Each table in a box that scrolls, also by keyboard."""
    box = '<div class="scroll" tabindex="0" role="group" aria-label="Table">'
    return html.replace("<table", f"{box}<table").replace("</table>", "</table></div>")


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """A copy with a note in place of each widget, which would be an empty box without a kernel.

    A widget's other outputs, such as a table of sounds, stay; progress bars are removed.
    """
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.pop(WIDGET_MIME, None) is None or data.keys() - {"text/plain"}:
                continue
            if "%|" in data.pop("text/plain", ""):  # a progress bar of tqdm
                output.output_type = "finished"
            else:
                data.update({"text/html": WIDGET_NOTE, "text/plain": "(a widget)"})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "finished"]
    return notebook


def _facts(stamp: dict[str, Any]) -> list[tuple[str, str]]:
    """The stamp as rows of a table."""
    versions = ", ".join(f"{name} {v}" for name, v in stamp["versions"].items() if v)
    return [
        ("notebook", f"{stamp['notebook']}, git blob {stamp['source_blob']}"),
        *((name, repr(value)) for name, value in stamp["parameters"].items()),
        ("device", stamp["device"] or "not known"),
        ("versions", versions),
        ("run", f"{stamp['started']}, {stamp['seconds']:.1f} s"),
    ]


def draw_equation(tex: str, size: float = 1.0) -> str:
    """An ``<img>`` of an equation on a line of text, ``size`` times as large as that.

    A ValueError if mathtext cannot read it.
    """
    text, font, buffer = f"${' '.join(tex.split())}$", FontProperties(size=FONT_SIZE), io.BytesIO()
    width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    figure = Figure(figsize=(width / 72, height / 72))
    figure.text(0, depth / height, text, fontproperties=font)
    with matplotlib.rc_context({"svg.hashsalt": "equation"}):  # the same picture each time
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    above, below = (size * x / FONT_SIZE for x in (height, depth))
    style = f"height:{above:.2f}em;vertical-align:{-below:.2f}em"
    alt = escape(tex.strip())
    return f'<img class="math" alt="{alt}" style="{style}" src="data:image/svg+xml;base64,{data}">'


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        large = body.replace(r"\frac", r"\dfrac")
        return f'<span class="equation">{self.inline_math(large, 1.15)}</span>'

    def inline_math(self, body: str, size: float = 1.0) -> str:
        try:
            return draw_equation(body, size)
        except ValueError:
            return f"<code>{escape(body)}</code>"


@pass_context
def markdown2html(context: Any, source: str) -> str:
    """nbconvert's filter of this name for the Markdown cells of a page."""
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = _Renderer(escape=False, attachments=attachments)
    page: str = MarkdownWithMath(renderer=renderer).render(source)
    return page
