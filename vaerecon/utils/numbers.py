"""Checks of single numbers."""

from numbers import Integral, Real
from typing import Any


def is_number(value: Any) -> bool:
    """Whether ``value`` is a real number, and not a bool or text (from a table or a command)."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_whole(value: Any, name: str, least: int | None = None) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number, ``least`` or more."""
    if not isinstance(value, Integral) or (least is not None and int(value) < least):
        expected = "a whole number" if least is None else f"{least} or more"
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
