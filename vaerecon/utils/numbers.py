"""What counts as a number, and checks of single values."""

from numbers import Integral, Real
from typing import Any


def is_number(value: Any) -> bool:
    """Whether it is a real number; text, as from a table or a command, is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_whole(value: Any, name: str, least: int | None = None) -> None:
    """Raise ``ValueError`` unless it is a whole number, ``least`` or more."""
    if not isinstance(value, Integral) or (least is not None and int(value) < least):
        expected = "a whole number" if least is None else f"{least} or more"
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
