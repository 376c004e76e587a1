"""Markdown with LaTeX to HTML without a script: equations are pictures by matplotlib's mathtext.

What mathtext does not know, such as the environment ``cases``, stays as it was written.
"""

import base64
import html
import io
from typing import Any

import matplotlib
from jinja2 import pass_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

POINTS = 12.0  # size of the font that a picture is drawn with


def draw_equation(tex: str, size: float = 1.0) -> str:
    """An ``<img>`` of an equation on a line of text, ``size`` times as large as that.

    A ValueError if mathtext cannot read it.
    """
    text, font, buffer = f"${' '.join(tex.split())}$", FontProperties(size=POINTS), io.BytesIO()
    width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    figure = Figure(figsize=(width / 72, height / 72))
    figure.text(0, depth / height, text, fontproperties=font)
    with matplotlib.rc_context({"svg.hashsalt": "equation"}):  # the same picture each time
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    above, below = (size * x / POINTS for x in (height, depth))
    style = f"height:{above:.2f}em;vertical-align:{-below:.2f}em"
    alt = html.escape(tex.strip())
    return f'<img class="math" alt="{alt}" style="{style}" src="data:image/svg+xml;base64,{data}">'


class _Renderer(IPythonRenderer):
    def block_math(self, body: str) -> str:
        large = body.replace(r"\frac", r"\dfrac")
        return f'<span class="equation">{self.inline_math(large, 1.15)}</span>'

    def inline_math(self, body: str, size: float = 1.0) -> str:
        try:
            return draw_equation(body, size)
        except ValueError:
            return f"<code>{html.escape(body)}</code>"


@pass_context
def markdown2html(context: Any, source: str) -> str:
    """nbconvert's filter of this name for the Markdown cells of a page."""
    attachments = context.get("cell", {}).get("attachments", {})
    renderer = _Renderer(escape=False, attachments=attachments)
    page: str = MarkdownWithMath(renderer=renderer).render(source)
    return page
