"""Mixed precision of large models, used where it is faster on this machine's processor.

Some processors multiply bfloat16 numbers twice as fast as float32 ones, others are far slower; and
some layers lose too much in bfloat16. So:

- :func:`mix` gives bfloat16 weights to the wide convolutions and linear layers. The first and last
  layer (log-mels of -11 would be rounded by up to 0.03 nepers), sums, normalisations and attention
  stay in float32. This is the dtype "mixed".
- :func:`tune` times a model in float32 and mixed, on two thirds of a second of sound, and takes the
  faster. The answer is kept in :func:`cache_file`, by processor, threads, torch version and
  architecture; delete it to measure again.

Small models stay in float32. ``dtype="float32"`` or ``"mixed"`` (``--dtype``) overrules this, and
so does the environment variable ``VAERECON_DTYPE`` for ``"auto"``; ``VAERECON_CACHE`` names another
folder for the answer.
"""

import copy
import json
import logging
import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from vaerecon.utils.files import whole_file
from vaerecon.utils.numba_cache import user_cache

logger = logging.getLogger(__name__)

LARGE = 20_000_000  # parameters; AudioLDM2's VAE and vocoder have 55 million each, tiny's 5 at most
WIDE = 32  # channels; narrower layers are bound by memory, not by arithmetic
FRAMES = 64  # of the mel that a model is timed on
REPEATS = 3
GAIN = 1.1  # speed-up from which on mixed precision is used
CHOICES = ("float32", "mixed")
SEQUENCES = (nn.Conv1d, nn.ConvTranspose1d)
HEAVY = (*SEQUENCES, nn.Conv2d, nn.Linear)  # what a model spends its time in
Heavy = nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d | nn.Linear
# the first of two convolutions of a branch: diffusers' ResnetBlock2D, HifiGanResidualBlock's lists
INSIDE_BRANCH = re.compile(r"\bresnets\.\d+\.conv1$|\bconvs1\.\d+$")


def mix(model: nn.Module) -> nn.Module:
    """Give ``model`` (changed in place) bfloat16 weights in its wide layers; returns it.

    Between layers all is float32, but for what the first convolution of a residual branch hands to
    the second on a CPU. Saved, the weights stay bfloat16.
    """
    first = next(module for module in model.modules() if isinstance(module, HEAVY))
    for name, module in model.named_modules():
        if isinstance(module, HEAVY) and module is not first and _width(module) >= WIDE:
            module.to(torch.bfloat16)
            inside = bool(INSIDE_BRANCH.search(name))
            forward = partial(_forward_in_own_dtype, module, inside_branch=inside)
            module.forward = forward  # type: ignore[method-assign]
            if isinstance(module, SEQUENCES):
                # [., ., kernel] -> the kernel's places before the channels in memory
                weight = module.weight.detach().transpose(1, 2).contiguous().transpose(1, 2)
                module.weight = nn.Parameter(weight, requires_grad=False)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # for bfloat16 kernels
    return model


def _width(module: Heavy) -> int:
    if isinstance(module, nn.Linear):
        return min(module.in_features, module.out_features)
    return min(module.in_channels, module.out_channels)


def _forward_in_own_dtype(self: Heavy, x: torch.Tensor, *, inside_branch: bool) -> torch.Tensor:
    own = x.to(self.weight.dtype)
    plain: Any = _as_picture if isinstance(self, SEQUENCES) else type(self).forward
    y: torch.Tensor = plain(self, own)
    # what follows inside a branch may be a normalisation, which takes another dtype on a CPU only
    return y if inside_branch and y.device.type == "cpu" else y.to(x.dtype)


def _as_picture(self: nn.Conv1d | nn.ConvTranspose1d, x: torch.Tensor) -> torch.Tensor:
    """Convolve ``[B, C, L]`` as a picture of height 1, in the faster layout channels_last, which
    torch does not have for sequences."""
    sizes: dict[str, Any] = {
        "stride": (1, *self.stride),
        "padding": (0, *self.padding),
        "dilation": (1, *self.dilation),
        "groups": self.groups,
    }
    if isinstance(self, nn.ConvTranspose1d):
        sizes["output_padding"] = (0, *self.output_padding)
    convolve = F.conv2d if isinstance(self, nn.Conv1d) else F.conv_transpose2d
    return convolve(x.unsqueeze(2), self.weight.unsqueeze(2), self.bias, **sizes).squeeze(2)


def dtype_name(*models: nn.Module) -> str:
    """The dtype of the last of ``models``; ``"mixed"`` if one of them has more than one."""
    names = [{str(p.dtype).removeprefix("torch.") for p in model.parameters()} for model in models]
    return "mixed" if any(len(own) > 1 for own in names) else names[-1].pop()


def tune(model: nn.Module, run: Callable[[nn.Module], object]) -> nn.Module:
    """``model``, or its mixed form where it is large and that is quicker on this processor.

    ``model`` is in float32 on the CPU; ``run`` runs the one that it is given on :data:`FRAMES`
    frames. ValueError for another ``VAERECON_DTYPE`` than ``auto``, ``float32`` and ``mixed``.
    """
    if _size(model) < LARGE:
        return model
    chosen = os.environ.get("VAERECON_DTYPE", "")
    if chosen not in ("", "auto", *CHOICES):
        raise ValueError(
            f"VAERECON_DTYPE: got {chosen!r}, expected 'auto' or one of {', '.join(CHOICES)}"
        )
    if chosen in CHOICES:
        return mix(model) if chosen == "mixed" else model
    key = _key(model)
    known = _read()
    if key not in known:
        seconds = dict(zip(CHOICES, _time(run, model, mix(copy.deepcopy(model))), strict=True))
        faster = seconds["float32"] > GAIN * seconds["mixed"]
        known[key] = {"dtype": "mixed" if faster else "float32", "seconds": seconds}
        _write(known)
        logger.info("%s: measured %s", key, known[key])
    return mix(model) if known[key]["dtype"] == "mixed" else model


@torch.no_grad()
def _time(run: Callable[[nn.Module], object], *models: nn.Module) -> list[float]:
    """The fastest of some runs of each, in turns; the first run is a warm-up."""
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(1 + REPEATS):
        for model, own in zip(models, seconds, strict=True):
            started = time.perf_counter()
            run(model)
            own.append(time.perf_counter() - started)
    return [round(min(own[1:]), 5) for own in seconds]


def run_vae(vae: Any) -> None:
    """Encode and decode :data:`FRAMES` frames, for :func:`tune`."""
    mel = torch.linspace(-11.5, 1.0, FRAMES * 64, dtype=torch.float32).reshape(1, 1, FRAMES, 64)
    vae.decode(vae.encode(mel).latent_dist.mode())


def run_vocoder(vocoder: Any) -> None:
    """Make the samples of :data:`FRAMES` frames, for :func:`tune`."""
    vocoder(torch.linspace(-11.5, 1.0, FRAMES * 64, dtype=torch.float32).reshape(1, FRAMES, 64))


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cache_file() -> Path:
    """Where measurements are kept: ``tuning.json`` in the user's cache folder."""
    folder = os.environ.get("VAERECON_CACHE") or user_cache() / "vaerecon"
    return Path(folder) / "tuning.json"


def _key(model: nn.Module) -> str:
    return (
        f"{type(model).__name__} of {_size(model):,} parameters, {_processor()} "
        f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )


def _processor() -> str:
    """Name of the processor, and on Linux its bfloat16 instructions."""
    text = ""
    with suppress(OSError):  # another system
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    # two machines can share a name ("AMD EPYC") and differ in what they can do
    flags = sorted(set(re.findall(r"\b(?:avx512_bf16|amx_bf16|bf16)\b", text)))
    return (
        " ".join([*name.groups(), *flags]) if name else platform.processor() or platform.machine()
    )


def _read() -> dict[str, Any]:
    """The cached measurements; empty without a file that this version can read."""
    try:
        known = json.loads(cache_file().read_text(encoding="utf-8"))
        fits = all(entry["dtype"] in CHOICES for entry in known.values())
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return {}
    return known if fits else {}


def _write(known: dict[str, Any]) -> None:
    """Store the measurements; if the folder cannot be written, they are made again next time."""
    try:
        with whole_file(cache_file()) as path:
            path.write_text(json.dumps(known, indent=1), encoding="utf-8")
    except OSError as error:
        logger.info("tuning: not kept (%s)", error)
