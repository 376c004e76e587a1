"""What every notebook needs: versions, a clip, ways to show a figure or a text, exercises."""

from __future__ import annotations

import io
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING

from vaerecon import __version__
from vaerecon.audio.clip import Clip, load_audio
from vaerecon.bundled import DEMO_CLIP, demo_clips

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def versions() -> str:
    """One line for the top of a notebook: what ran it."""
    import diffusers
    import torch
    import transformers

    return (
        f"vaerecon {__version__}, torch {torch.__version__}, diffusers {diffusers.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}"
    )


def demo_clip(clip: str = "", max_length: float | None = None) -> Clip:
    """The clip that a notebook's parameters name.

    Parameters
    ----------
    clip
        An audio file, the name of a bundled clip (``"demo_speech"``), or empty for the default one.
    max_length
        Read at most this many seconds.

    Raises
    ------
    ValueError, OSError
        Those of :func:`vaerecon.load_audio`.
    """
    bundled = demo_clips()
    path = bundled.get(clip or DEMO_CLIP, clip)
    return load_audio(path, max_length=max_length)


def png(figure: Figure, dpi: int = 100) -> bytes:
    """A figure as PNG bytes, for image widgets."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi)
    return buffer.getvalue()


def show(figure: Figure) -> None:
    """Display a figure below the cell, as PNG."""
    from IPython.display import Image, display

    display(Image(png(figure)))


def markdown(text: str) -> None:
    """Display text that was computed, as Markdown."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def check_answers(checks: dict[str, Callable], /, **answers: Callable) -> str:
    """The state of each exercise as a Markdown list.

    Parameters
    ----------
    checks
        Exercise to a function that takes the reader's answer: True if it is right, False if it
        was not tried, an exception that says what is wrong.
    **answers
        The reader's functions, by the exercise's name.
    """
    lines = []
    for name, check in checks.items():
        try:
            state = "correct" if check(answers[name]) else "not tried yet"
        except Exception as error:  # the reader's code may raise anything
            state = f"not yet: {error}"
        lines.append(f"- `{name}`: {state}")
    return "\n".join(lines)


def require(correct: bool, message: str) -> None:
    """Raise a ValueError with a hint if an answer to an exercise is not correct."""
    if not correct:
        raise ValueError(message)
