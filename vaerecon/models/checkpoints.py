"""Loading of a checkpoint: from the package, from a folder or from the hub.

A checkpoint is two folders, ``vae/`` (a diffusers ``AutoencoderKL`` over one mel channel) and
``vocoder/`` (a transformers ``SpeechT5HifiGan``), each a ``config.json`` and safetensors; one that
``vaerecon train`` made may have ``fast/`` too, its own network for that method.
AudioLDM 1 and MusicLDM have the same layout, so they load too. The text encoders and the UNet are
never requested. Only safetensors are read: a pickle (``.bin``, ``.pt``) can run code when opened.

Downloads go through the ``huggingface_hub`` client, so ``HF_ENDPOINT`` (a mirror), ``HF_HOME``,
``HF_TOKEN`` and ``HF_HUB_OFFLINE`` work, and what is cached is not fetched again.

Nothing here imports torch until :func:`load` is called.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.models import checkpoint_weights as weights
from vaerecon.models.checkpoint_configs import models_from_configs
from vaerecon.models.hub import fetch_configs, fetch_fast, fetch_weights, hub_errors
from vaerecon.models.sources import Place, config_paths, resolve

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Models that are ready to run, and where they come from."""

    vae: Any  # diffusers AutoencoderKL
    vocoder: Any  # transformers SpeechT5HifiGan
    variant: str  # name in VARIANTS, or "custom"
    source: str  # hub id or name of the folder; never a path
    revision: str | None  # commit hash on the hub; None for a folder
    licence: str | None  # None: not known here, see the model card
    dtype: str  # as asked for, but "auto"; a VAE may ask for float32 all the same (see `load`)
    device: str
    fast: Path | None = None  # folder of its own network for the method `fast`, if it has one
    folder: Path | None = None  # where it lies; None for a hub id


def check_hub(source: str | os.PathLike[str], revision: str | None = None) -> None:
    """Fetch the two configs of a hub id, with the errors of :func:`load` but without torch."""
    place = resolve(source)
    _check_names(place, revision)
    if place.folder is None:
        with hub_errors(place.name, revision):
            fetch_configs(place.name, revision, {})


def load(
    source: str | os.PathLike[str], *, revision: str | None = None,
    device: str | torch.device | None = "cpu", dtype: str | torch.dtype | None = None,
    torch_dtype: str | torch.dtype | None = None, variant: str | None = None,
    token: str | bool | None = None, use_safetensors: bool = True,
    cache_dir: str | os.PathLike[str] | None = None, local_files_only: bool = False,
) -> Checkpoint:  # fmt: skip
    """Load VAE and vocoder; both configs are checked before any weights are fetched.

    Parameters
    ----------
    source
        Variant, folder or hub id (module docstring says which wins).
    revision
        Branch, tag or commit hash of a hub repository; its main branch by default.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``None`` picks the first that is there of
        CUDA, MPS and CPU.
    dtype, torch_dtype
        Two names of one option, a string or a ``torch.dtype``: ``"float32"``, ``"float16"``,
        ``"bfloat16"``, ``"mixed"`` (:func:`vaerecon.models.precision.mix`), or ``"auto"``, the
        default: on CUDA bfloat16 where the card has it, else float16; on MPS float32; on a CPU
        float32, or mixed where :func:`vaerecon.models.precision.tune` finds that quicker. In
        float16 a VAE whose config says ``force_upcast`` stays float32.
    variant
        Of the weights files, such as ``"fp16"`` in ``diffusion_pytorch_model.fp16.safetensors``.
    token, cache_dir, local_files_only
        Those of ``huggingface_hub``.
    use_safetensors
        As in diffusers; it can only be True.

    Raises
    ------
    ValueError
        If the source does not exist, does not fit the kit's mel, is damaged or incomplete, is a
        pickle, or if the device or dtype is not available.
    OSError
        If the hub cannot be reached or refuses access, and nothing is cached.
    """
    from vaerecon.models import placement, precision

    place = resolve(source)
    _check_names(place, revision, variant)
    if not use_safetensors:
        raise ValueError("use_safetensors: got False, but a pickle can run code when opened")
    device = placement.pick_device(device)
    dtype = placement.named_dtype(dtype, torch_dtype) or "auto"
    to_tune = dtype == "auto" and device == "cpu"
    dtype = placement.pick_dtype(dtype, device)
    licence = place.variant.licence if place.variant else None
    if licence and "-nc-" in licence:
        logger.warning("%s: weights are %s, not for commercial use", place.name, licence)
    cache = {"cache_dir": cache_dir, "local_files_only": local_files_only, "token": token}
    models, files, commit, fast = _find(place, revision, variant, cache)
    vae, vocoder = _build(models, files, place.name, dtype)
    if to_tune:
        vae = precision.tune(vae, precision.run_vae)
        vocoder = precision.tune(vocoder, precision.run_vocoder)
        dtype = precision.dtype_name(vae, vocoder)
    elif dtype == "mixed":
        vae, vocoder = precision.mix(vae), precision.mix(vocoder)
    return Checkpoint(
        vae=vae.to(device),
        vocoder=vocoder.to(device),
        variant=place.variant.name if place.variant else "custom",
        source=place.name,
        revision=commit,
        licence=licence,
        dtype=dtype,
        device=device,
        fast=fast,
        folder=place.folder,
    )


def _find(
    place: Place, revision: str | None, variant: str | None, cache: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, list[Path]], str | None, Path | None]:
    """Models without weights, the weights files, the commit on the hub, and its ``fast/``."""
    if place.folder is not None:
        models = models_from_configs(config_paths(place, place.folder), place.name)
        files = _find_weights(place, place.folder, variant)
        # all but what a user trained goes with the bundled network
        return models, files, None, None if place.variant else own_fast(place.folder)
    with hub_errors(place.name, revision):
        configs, commit = fetch_configs(place.name, revision, cache)
        models = models_from_configs(configs, place.name)
        files = fetch_weights(place.name, commit, cache, variant)
        fast = None if place.variant else fetch_fast(place.name, commit, cache)
    return models, files, commit, fast


def _check_names(place: Place, revision: str | None, variant: str | None = None) -> None:
    """Refuse names that could lead out of a folder: paths are made of them."""
    if place.folder is not None and revision is not None:
        raise ValueError(f"revision: got {revision!r} for a folder; only hub repositories have any")
    # the client makes a path of it in its cache
    if revision is not None and not re.fullmatch(r"(?!.*\.\.)\w[\w./@+-]*", revision):
        raise ValueError(f"revision: got {revision!r}, expected a branch, tag or commit")
    if variant is not None and not re.fullmatch(r"\w[\w-]*", variant):
        raise ValueError(f"variant: got {variant!r}, expected a name such as 'fp16'")


def own_fast(folder: str | os.PathLike[str]) -> Path | None:
    """``fast/`` of a folder, if it has one."""
    found = Path(folder) / "fast"
    return found if (found / "config.json").is_file() else None


def _find_weights(place: Place, folder: Path, variant: str | None) -> dict[str, list[Path]]:
    """The weights files in the folder of a source."""

    def get(name: str) -> Path | None:
        path = folder / name
        return path if path.is_file() else None

    def variants(part: str) -> list[str]:
        stem = weights.PARTS[part]
        paths = sorted((folder / part).glob(f"{stem}.*.safetensors"))
        return [path.name.removeprefix(stem).split(".")[1] for path in paths]

    return weights.find_weights(get, lambda name: bool(get(name)), variant, place.name, variants)


def _build(
    models: dict[str, Any], files: dict[str, list[Path]], where: str, dtype: str
) -> tuple[Any, Any]:
    """The two models with their weights, in ``dtype``."""
    import torch

    vae, vocoder = models["vae"], models["vocoder"]
    wanted = torch.float32 if dtype == "mixed" else getattr(torch, dtype)
    upcast = wanted == torch.float16 and vae.config.force_upcast
    weights.fill(vae, files["vae"], torch.float32 if upcast else wanted, f"{where}: vae")
    weights.fill(vocoder, files["vocoder"], wanted, f"{where}: vocoder")
    vae.register_to_config(_name_or_path=where)  # both would save a local path
    vocoder.config._name_or_path = vocoder.name_or_path = where
    return vae.eval(), vocoder.eval()
