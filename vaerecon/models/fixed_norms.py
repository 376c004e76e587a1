"""A VAE whose group normalisations use fixed statistics, measured once on many clips.

A group normalisation takes mean and variance over all frames of its input; those of a quarter of a
second differ from those of a clip. With fixed statistics a frame depends only on its neighbours,
and the VAE can work on short windows (:mod:`vaerecon.streaming`).

Notebook: ``08_real_time``.
"""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vaerecon.models.autoencoder import decode, encode

FILE = "streaming/norms.safetensors"  # in a checkpoint's folder
LEAST_FRAMES = 100  # of a clip (1 s): a shorter one would count as much as a long one


class FixedNorm(nn.Module):
    """A group normalisation with given statistics: a factor and an offset for each channel."""

    def __init__(self, norm: nn.GroupNorm, mean: torch.Tensor, variance: torch.Tensor):
        super().__init__()
        size = norm.num_channels // norm.num_groups
        factor = norm.weight / (variance + norm.eps).sqrt().repeat_interleave(size).to(norm.weight)
        offset = norm.bias - mean.repeat_interleave(size).to(factor) * factor
        self.register_buffer("factor", factor.detach(), persistent=False)
        self.register_buffer("offset", offset.detach(), persistent=False)

    factor: torch.Tensor
    offset: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, C, ...]`` in and out."""
        shape = (-1, *[1] * (x.ndim - 2))
        return torch.addcmul(self.offset.view(shape), x, self.factor.view(shape))


def _norms(vae: nn.Module) -> dict[str, nn.GroupNorm]:
    return {name: part for name, part in vae.named_modules() if isinstance(part, nn.GroupNorm)}


def measure_norms(vae: Any, mels: Iterable[torch.Tensor]) -> torch.Tensor:
    """Mean and variance of each group, over all clips alike: ``[norms, 2, groups]``, float32.

    Of log-mels ``[T, 64]``; those under a second are left out. ValueError if none is left.
    """
    norms, moments = list(_norms(vae).values()), []

    def note(norm: nn.GroupNorm, inputs: tuple[torch.Tensor]) -> None:
        values = inputs[0][0].double().reshape(norm.num_groups, -1)
        found[norm] = torch.stack([values.mean(-1), values.square().mean(-1)]).cpu()

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        for mel in mels:
            found: dict[nn.GroupNorm, torch.Tensor] = {}
            if len(mel) >= LEAST_FRAMES:
                decode(vae, encode(vae, mel))
                moments.append(torch.stack([found[norm] for norm in norms]))
    finally:
        for hook in hooks:
            hook.remove()
    if not moments:
        raise ValueError("clips: got none of at least 1 s, expected some to measure; minutes help")
    mean, square = torch.stack(moments).mean(0).unbind(1)
    return torch.stack([mean, square - mean.square()], dim=1).float()


def with_fixed_norms(vae: Any, statistics: torch.Tensor) -> Any:
    """A copy of ``vae`` with the statistics of :func:`measure_norms`; it shares the weights."""
    shared = {id(tensor): tensor for tensor in vae.parameters()}
    fixed = copy.deepcopy(vae, shared)
    for (name, norm), (mean, variance) in zip(_norms(fixed).items(), statistics, strict=True):
        parent, _, own = name.rpartition(".")
        setattr(fixed.get_submodule(parent), own, FixedNorm(norm, mean, variance))
    return fixed


def save_norms(statistics: torch.Tensor, vae: str, folder: Path) -> None:
    """Write :data:`FILE` into a checkpoint's folder; ``vae`` is the hash of the VAE's weights."""
    from safetensors.torch import save

    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({"statistics": statistics}, {"vae": vae}))


def load_norms(folder: Path) -> tuple[torch.Tensor, str] | None:
    """The statistics in a checkpoint's folder and the hash of their VAE; None if it has none.

    ValueError if the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            statistics, owner = file.get_tensor("statistics"), file.metadata()["vae"]
        if statistics.isfinite().all() and statistics.ndim == 3 and statistics[:, 1].min() >= 0:
            return statistics.float(), owner
    except (OSError, SafetensorError, LookupError, TypeError, RuntimeError):
        pass
    raise ValueError(
        f"{folder.name}/{FILE}: damaged; delete it and measure again with pipe.calibrate(clips)"
    )
