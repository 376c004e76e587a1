"""The safetensors of a checkpoint: found, checked, and filled into the models.

Each of ``vae/`` and ``vocoder/`` has one safetensors file, or its shards and their index. Other
names of weights are understood too: the prefixes of ``torch.compile`` and ``DataParallel``, weight
normalisation, diffusers' older names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.models.checkpoint_configs import read_config

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PARTS = {"vae": "diffusion_pytorch_model", "vocoder": "model"}  # folder -> stem of its weights
FAST = "diffusion_pytorch_model.safetensors"  # in fast/, which is there or not
PICKLES = {"vae": "diffusion_pytorch_model.bin", "vocoder": "pytorch_model.bin"}
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
NORM_NAMES = {  # of weight normalisation, since torch 2.0: length and direction
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}
OPTIONAL = {"mean": 0.0, "scale": 1.0}  # a vocoder's input statistics, if its config uses none
FLOATS = {"F64", "F32", "F16", "BF16"}  # as a safetensors header writes them


def find_weights(
    get: Callable[[str], Path | None], exists: Callable[[str], bool], variant: str | None,
    where: str, variants: Callable[[str], list[str]] = lambda part: [],
) -> dict[str, list[Path]]:  # fmt: skip
    """The weights of each part: one file, or its shards; a ValueError if there is neither.

    ``get`` gives the file of a name in the checkpoint, or None; ``exists`` only says whether there
    is one. ``variants`` names the variants of a part that could be loaded instead.
    """
    files = {}
    for part, pickle in PICKLES.items():
        files[part] = _find_part(get, part, variant, where)
        if files[part]:
            continue
        message = f"{where}: has no {_weights_name(part, variant)}"
        if others := variants(part):
            message += (
                f", but the variant {others[0]!r}; load it with variant={others[0]!r}, or save it "
                "without a variant"
            )
        elif exists(f"{part}/{pickle}"):
            message += (
                f", but {part}/{pickle}; a pickle can run code when opened, so it is not: "
                "convert it where you trust it, with "
                "model.save_pretrained(folder, safe_serialization=True)"
            )
        raise ValueError(message)
    return files


def _find_part(
    get: Callable[[str], Path | None], part: str, variant: str | None, where: str
) -> list[Path]:
    """Files of one part. An index can name only shards of this part: other names are refused."""
    if single := get(_weights_name(part, variant)):
        return [single]
    stem = PARTS[part]
    end = "index.json" if variant is None else f"index.{variant}.json"
    index = get(f"{part}/{stem}.safetensors.{end}")
    if index is None:
        return []
    where = f"{where}: {part}/{index.name}"
    names = read_config(index, where).get("weight_map")
    names = list(names.values()) if isinstance(names, dict) else []
    shard = re.compile(re.escape(_with_variant(stem, variant)) + r"-\d{5}-of-\d{5}\.safetensors")
    wrong = [name for name in names if not (isinstance(name, str) and shard.fullmatch(name))]
    if wrong or not names:
        got = repr(wrong[0])[:60] if wrong else "no file"
        raise ValueError(f"{where}: names {got}, expected shards like {stem}-00001-of-00002")
    found = []
    for name in sorted(set(names)):
        path = get(f"{part}/{name}")
        if path is None:
            raise ValueError(f"{where}: names {name}, which is not there; download it again")
        found.append(path)
    return found


def _weights_name(part: str, variant: str | None) -> str:
    return f"{part}/{_with_variant(PARTS[part], variant)}.safetensors"


def _with_variant(stem: str, variant: str | None) -> str:
    return stem if variant is None else f"{stem}.{variant}"


def fill(model: Any, paths: list[Path], dtype: Any, where: str) -> None:
    """Give a model of :func:`models_from_configs` its weights, in ``dtype``.

    A ValueError, which says ``where``, if one is missing or does not fit; the libraries would only
    warn. No other file is read, while the libraries' own loaders would also follow what else a
    stranger's folder names: an index of shards (by any path), an adapter, a quantisation.
    """
    import torch

    weights: dict[str, torch.Tensor] = {}
    for path in paths:
        own = _read(path, f"{where}/{path.name}")
        if twice := sorted(set(own) & set(weights)):
            raise ValueError(f"{where}/{path.name}: has {twice[0]}, which another shard has too")
        weights |= own
    where = f"{where}/{paths[0].name}" if len(paths) == 1 else f"{where}, {len(paths)} shards"
    _merge_norms(weights)
    wanted = model.state_dict()
    for name, value in OPTIONAL.items():
        if name in wanted and name not in weights and not model.config.normalize_before:
            weights[name] = torch.full(wanted[name].shape, value)
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()}
    wrong = [name for name in wanted if shapes.get(name) != list(wanted[name].shape)]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{where}: {len(wrong)} of {len(wanted)} weights are missing or do not fit the config, "
            f"first {first}: got {shapes.get(first, 'none')}, expected {list(wanted[first].shape)}"
        )
    if unknown := sorted(set(weights) - set(wanted) - set(OPTIONAL)):
        logger.warning("%s: ignored unknown weights: %s", where, ", ".join(unknown[:5]))
    model.load_state_dict({name: weights[name].to(dtype) for name in wanted}, assign=True)


def _read(path: Path, where: str) -> dict[str, torch.Tensor]:
    """The weights in a file by their present names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            kinds = {file.get_slice(name).get_dtype() for name in names}
            if kinds - FLOATS:
                raise ValueError(
                    f"{where}: has weights of type {', '.join(sorted(kinds - FLOATS))}, expected "
                    f"floats ({', '.join(sorted(FLOATS))}); a quantised checkpoint does not fit"
                )
            found = {_new_name(name): file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(
            f"{where}: is truncated or no safetensors file ({error}); delete it and load again"
        ) from error
    if len(found) < len(names):
        raise ValueError(f"{where}: has weights under two names each (with and without module. or "
                         "_orig_mod.?); save the model again")  # fmt: skip
    return found


def _merge_norms(weights: dict[str, torch.Tensor]) -> None:
    """Put ``weight`` in place of ``weight_g`` and ``weight_v``, where the two fit."""
    import torch

    for name in [name for name in weights if name.endswith(".weight_g")]:
        weight = name.removesuffix("_g")
        gain, direction = weights[name].float(), weights.get(f"{weight}_v")
        if weight in weights or direction is None or direction.ndim == 0:
            continue
        if list(gain.shape) != [len(direction)] + [1] * (direction.ndim - 1):
            continue
        # one gain for each index of the first axis
        direction, axes = direction.float(), tuple(range(1, gain.ndim))
        norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
        weights[weight] = direction * (gain / norm)
        del weights[name], weights[f"{weight}_v"]


def _new_name(name: str) -> str:
    """The name that diffusers and transformers give a weight of the plain model today.

    ``torch.compile`` and ``DataParallel`` put prefixes before it, weight normalisation has an older
    and a newer spelling, and attention had other names before diffusers 0.15 (AudioLDM 1).
    """
    name = name.replace("_orig_mod.", "").removeprefix("module.")
    for old, new in NORM_NAMES.items():
        name = name.replace(old, new)
    if ".attentions." in name:
        for old, new in OLD_NAMES.items():
            name = name.replace(f".{old}.", f".{new}.")
    return name
