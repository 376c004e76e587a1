"""Shared by all notebooks: versions, clips, display of figures and text, checks of exercises."""

from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import torch

from vaerecon.audio.clip import Clip, load_audio
from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.lab.figures import show as show
from vaerecon.utils.versions import installed_versions


def versions() -> str:
    """Versions of the main libraries, in one line."""
    found = installed_versions(("vaerecon", "torch", "diffusers", "transformers"))
    return ", ".join(f"{name} {version}" for name, version in found.items())


def demo_clip(clip: str = "", max_length: float | None = None) -> Clip:
    """An audio file, a bundled clip by name (``"demo_speech"``), or the default one if empty.

    ``max_length`` seconds at most; errors are those of :func:`vaerecon.load_audio`.
    """
    return load_audio(demo_clips().get(clip or DEMO_CLIP, clip), max_length=max_length)


def markdown(text: str) -> None:
    """Display text that was computed, as Markdown."""
    from IPython.display import Markdown, display

    display(Markdown(text))


class Wrong(ValueError):
    """A wrong answer to an exercise; the message is a hint."""


class NotTried(Exception):
    """An exercise without an answer."""


KINDS: dict[str, tuple[str, tuple[type, ...]]] = {  # what a solution returns: in words, as types
    "float": ("a number", (Real,)),
    "int": ("a number", (Real,)),
    "list": ("a list", (list, tuple)),
    "tuple": ("some numbers, with commas between", (list, tuple)),
    "Tensor": ("a tensor", (torch.Tensor,)),
    "ndarray": ("a numpy array", (np.ndarray,)),
}


def check_answers(
    checks: Mapping[str, Callable[..., Any]], /, **answers: Callable[..., Any]
) -> str:
    """The state of each exercise as a Markdown list.

    ``checks`` maps an exercise to a function of the reader's answer, which raises :class:`Wrong`
    with a hint; the annotation of its argument says what the answer returns. A reader never sees
    an error of Python's, only a sentence.
    """
    lines = []
    for name, answer in answers.items():
        check = checks[name]
        try:
            check(_guarded(answer, get_type_hints(check)["answer"]))
            state = "correct"
        except NotTried:
            state = "not tried yet"
        except Wrong as hint:
            state = f"not yet: {hint}"
        except Exception:  # what the answer returned cannot be computed with
            state = "not yet: what it returns has another shape or type than the exercise asks for"
        lines.append(f"- `{name}`: {state}")
    return "\n".join(lines)


def _guarded(answer: Callable[..., Any], hint: Any) -> Callable[..., Any]:
    """The reader's function: its errors, and results of another type, become :class:`Wrong`."""
    returned = get_args(hint)[1]
    words, types = KINDS[(get_origin(returned) or returned).__name__]

    def call(*arguments: Any) -> Any:
        try:
            found = answer(*arguments)
        except Exception as error:  # the reader's code may raise anything
            name = type(error).__name__
            article = "an" if name[0] in "AEIOU" else "a"
            hint = "call it in a cell of its own to see in which line"
            raise Wrong(f"the function stopped with {article} {name}; {hint}") from error
        if found is None:
            raise NotTried
        single = isinstance(found, (torch.Tensor, np.ndarray)) and found.ndim == 0
        if not isinstance(found, types) and not (single and types == (Real,)):
            raise Wrong(f"it returns {found!r:.40} ({type(found).__name__}), expected {words}")
        return found

    return call


def exercises(
    *checks: Callable[..., None],
) -> tuple[dict[str, Callable[..., Any]], Callable[..., str]]:
    """Functions ``check_<exercise>`` by exercise, and :func:`check_answers` with them."""
    by_name = {check.__name__.removeprefix("check_"): check for check in checks}
    return by_name, partial(check_answers, by_name)


def require_close(got: float, want: float, what: str, tolerance: float = 1e-9) -> None:
    """Raise :class:`Wrong` with ``what`` and both numbers if they differ by more than that."""
    require(abs(got - want) <= tolerance, f"{what}: got {got:.4g}, expected {want:.4g}")


def require(correct: bool, message: str) -> None:
    """Raise :class:`Wrong` with a hint if an answer to an exercise is not correct."""
    if not correct:
        raise Wrong(message)
