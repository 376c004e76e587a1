"""Protect functions from a surrounding ``torch.autocast``."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

DEVICES = ("cpu", "cuda", "mps")  # device types that the kit runs on


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function so that it ignores ``torch.autocast`` and keeps its own dtypes."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **options: P.kwargs) -> R:
        with ExitStack() as stack:
            for device in DEVICES:
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **options)

    return wrapper
