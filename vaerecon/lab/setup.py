"""Shared by all notebooks: versions, clips, display of figures and text, checks of exercises."""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vaerecon import __version__
from vaerecon.audio.clip import Clip, load_audio
from vaerecon.bundled import DEMO_CLIP, demo_clips

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def versions() -> str:
    """Versions of the main libraries, in one line."""
    import diffusers
    import torch
    import transformers

    return (
        f"vaerecon {__version__}, torch {torch.__version__}, diffusers {diffusers.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}"
    )


def demo_clip(clip: str = "", max_length: float | None = None) -> Clip:
    """An audio file, a bundled clip by name (``"demo_speech"``), or the default one if empty.

    ``max_length`` seconds at most; errors are those of :func:`vaerecon.load_audio`.
    """
    return load_audio(demo_clips().get(clip or DEMO_CLIP, clip), max_length=max_length)


def png(figure: Figure, dpi: int = 100) -> bytes:
    """A figure as PNG bytes, for image widgets."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi)
    return buffer.getvalue()


def show(figure: Figure) -> None:
    """Display a figure below the cell, as PNG with a description for readers who cannot see it."""
    from IPython.display import Image, display

    display(Image(png(figure), alt=description(figure)))


def description(figure: Figure) -> str:
    """The titles of a figure's panels, and in one sentence what their axes show."""
    axes = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    over = figure.get_suptitle()
    titles = dict.fromkeys(t for t in (over, *(ax.get_title() for ax in axes)) if t)
    down = dict.fromkeys(label for ax in axes if (label := ax.get_ylabel()))
    across = dict.fromkeys(label for ax in axes if (label := ax.get_xlabel()))
    shown = " and ".join(", ".join(labels) for labels in (down, across) if labels)
    sentences = ["; ".join(titles) or "A figure", f"Its axes show {shown}" if shown else ""]
    return " ".join(f"{' '.join(text.split())}." for text in sentences if text)


def markdown(text: str) -> None:
    """Display text that was computed, as Markdown."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def check_answers(
    checks: Mapping[str, Callable[..., Any]], /, **answers: Callable[..., Any]
) -> str:
    """The state of each exercise as a Markdown list.

    ``checks`` maps an exercise to a function of the reader's answer, which raises
    :class:`NotTried` without an answer, and another exception with a hint for a wrong one.
    ``answers`` are the reader's functions, by exercise.
    """
    lines = []
    for name, check in checks.items():
        try:
            check(answers[name])
            state = "correct"
        except NotTried:
            state = "not tried yet"
        except Exception as error:  # the reader's code may raise anything
            state = f"not yet: {error}"
        lines.append(f"- `{name}`: {state}")
    return "\n".join(lines)


class NotTried(Exception):
    """An exercise without an answer."""


def tried(found: Any) -> Any:
    """What an answer returned; :class:`NotTried` if it is None."""
    if found is None:
        raise NotTried
    return found


def by_exercise(*checks: Callable[..., None]) -> dict[str, Callable[..., Any]]:
    """Functions ``check_<exercise>`` by exercise."""
    return {check.__name__.removeprefix("check_"): check for check in checks}


def require_close(got: float, want: float, what: str, tolerance: float = 1e-9) -> None:
    """Raise a ValueError with ``what`` and both numbers if they differ by more than that."""
    require(abs(got - want) <= tolerance, f"{what}: got {got:.4g}, expected {want:.4g}")


def require(correct: bool, message: str) -> None:
    """Raise a ValueError with a hint if an answer to an exercise is not correct."""
    if not correct:
        raise ValueError(message)
