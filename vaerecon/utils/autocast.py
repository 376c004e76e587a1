"""``torch.autocast`` around a call changes nothing inside it."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

DEVICES = ("cpu", "cuda", "mps")  # those that the kit runs on


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: inside ``torch.autocast`` too it computes in its own dtypes."""

    @functools.wraps(function)
    def undisturbed(*args: P.args, **options: P.kwargs) -> R:
        with ExitStack() as stack:
            for device in DEVICES:
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **options)

    return undisturbed
