"""Where a training runs: device, precision and number of processes, by Hugging Face accelerate.

By default a training takes one device. ``accelerate launch --num_processes 4 -m vaerecon train``
takes four: each process draws its own crops, gradients are averaged, the first process validates
and writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator

PRECISIONS = ("no", "bf16", "fp16")  # accelerate's names; "no" is float32


def make_accelerator(device: str | None = None, precision: str = "no") -> Accelerator:
    """An ``Accelerator`` on ``device`` (``None``: accelerate's choice).

    A ValueError if accelerate is not installed, or the device is missing, cannot compute in
    ``precision``, or differs from this process's earlier training (accelerate keeps one for all).
    """
    try:
        from accelerate import Accelerator
    except ImportError:
        raise ValueError(
            "training: the package accelerate is not installed: `pip install accelerate`"
        ) from None
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    present = ["cpu", *(name for name, found in available.items() if found)]
    if device is not None and device not in present:
        raise ValueError(f"device: got {device!r}, expected one that is here: {', '.join(present)}")
    if precision == "fp16" and (device == "cpu" or present == ["cpu"]):
        raise ValueError("precision: got 'fp16' on a CPU, expected 'no' or 'bf16'")
    try:
        found = Accelerator(cpu=device == "cpu", mixed_precision=precision)
    except ValueError as error:
        raise ValueError(
            f"training: this process has trained on another device or in another precision before "
            f"and accelerate keeps those; start a new process ({error})"
        ) from error
    if device is not None and found.device.type != device:
        raise ValueError(
            f"device: got {device!r}, but this process has trained on {found.device.type!r} "
            "before; start a new process"
        )
    return found
