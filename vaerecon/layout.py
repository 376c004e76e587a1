"""What a checkpoint's files must be: refused before anything large is fetched or allocated.

A checkpoint is ``vae/`` and ``vocoder/``, each a ``config.json`` and one safetensors file.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

PARTS = {"vae": "diffusion_pytorch_model", "vocoder": "model"}  # folder -> stem of its weights
PICKLES = {"vae": "diffusion_pytorch_model.bin", "vocoder": "pytorch_model.bin"}
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OPTIONAL = {"mean", "scale"}  # a vocoder's input statistics, where its config does not use them
MAX_CONFIG_BYTES = 1_000_000  # a real one has about 1 kB
MAX_PARAMETERS = 600_000_000  # per model, ten times AudioLDM2's


def no_weights(where: str, part: str, has_pickle: bool) -> ValueError:
    wanted = f"{part}/{PARTS[part]}.safetensors"
    if has_pickle:
        return ValueError(
            f"{where}: has {part}/{PICKLES[part]} but no {wanted}; a pickle can run code when "
            "opened, so it is not: convert it where you trust it, with "
            "model.save_pretrained(folder, safe_serialization=True)"
        )
    return ValueError(f"{where}: has no {wanted}")


def check_configs(paths: dict[str, Path], where: str) -> dict[str, dict[str, list[int]]]:
    """Refuse configs of another model, of an absurd size, or that do not fit the mel.

    Returns the shape of each weight by name, for both parts.
    """
    configs = {
        part: read_config(path, f"{where}: {part}/config.json") for part, path in paths.items()
    }
    vae, vocoder = configs["vae"], configs["vocoder"]
    if vae.get("_class_name") != "AutoencoderKL":
        got = vae.get("_class_name")
        raise ValueError(f"{where}: vae is of class {got!r}, expected 'AutoencoderKL'")
    kind = vocoder.get("architectures") or [vocoder.get("model_type")]
    if kind[0] not in ("SpeechT5HifiGan", "speecht5_hifigan", "hifigan"):
        raise ValueError(f"{where}: vocoder is of class {kind[0]!r}, expected 'SpeechT5HifiGan'")
    for part, config in configs.items():
        _check_numbers(config, f"{where}: {part}/config.json")

    import torch
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    from vaerecon.mel import check_model_configs

    models = {}
    try:
        with torch.device("meta"):  # shapes without memory
            models["vae"] = AutoencoderKL.from_config(vae)
            models["vocoder"] = SpeechT5HifiGan(SpeechT5HifiGanConfig.from_dict(vocoder))
    except Exception as error:  # whatever a wrong value makes the constructors trip over
        part = "vocoder" if "vae" in models else "vae"
        raise ValueError(f"{where}: {part}/config.json describes no model: {error}") from error
    for part, model in models.items():
        count = sum(parameter.numel() for parameter in model.parameters())
        if count > MAX_PARAMETERS:
            raise ValueError(
                f"{where}: {part} would have {count:,} parameters, expected at most "
                f"{MAX_PARAMETERS:,} (AudioLDM2's has 55 million)"
            )
    check_model_configs(models["vae"].config, models["vocoder"].config)
    shapes = {
        part: {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        for part, model in models.items()
    }
    if not models["vocoder"].config.normalize_before:
        for name in OPTIONAL:
            del shapes["vocoder"][name]
    return shapes


def read_config(path: Path, where: str) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise ValueError(f"{where}: has {size:,} bytes, expected at most {MAX_CONFIG_BYTES:,}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON or bad UTF-8
        raise ValueError(
            f"{where}: is not JSON ({error}); download the checkpoint again"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"{where}: got a JSON {type(config).__name__}, expected an object")
    return config


def _check_numbers(config: dict[str, Any], where: str) -> None:
    """Bound what would take forever even on the meta device: numbers of layers, sizes of layers."""
    bounds = {"layers_per_block": 16, "upsample_initial_channel": 16384, "latent_channels": 4096}
    lists = {
        "block_out_channels": 16384,
        "upsample_rates": 1024,
        "upsample_kernel_sizes": 4096,
        "resblock_kernel_sizes": 1024,
    }
    for name, bound in (bounds | lists).items():
        if name not in config:
            continue
        values = config[name] if name in lists else [config[name]]
        fits = isinstance(values, list) and len(values) <= 16
        if not fits or not all(type(value) is int and 1 <= value <= bound for value in values):
            kind = "up to 16 whole numbers" if name in lists else "a whole number"
            raise ValueError(
                f"{where}: {name} is {str(config[name])[:60]}, expected {kind} from 1 to {bound}"
            )


def check_weights(path: Path, shapes: dict[str, list[int]], where: str) -> None:
    """Compare a safetensors header with the file's length and with the model; reads no tensor.

    The libraries would leave a missing weight at random, with a warning.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as weights:
            names = weights.keys()
            found = {_new_name(name): weights.get_slice(name).get_shape() for name in names}
    except SafetensorError as error:
        raise ValueError(
            f"{where}: is truncated or no safetensors file ({error}); delete it and load again"
        ) from error
    if "conv_pre.weight_g" in found:
        raise ValueError(
            f"{where}: was saved with weight normalisation (weight_g, weight_v); call "
            "remove_weight_norm() on the model and save it again"
        )
    wrong = [name for name, shape in shapes.items() if found.get(name) != shape]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{where}: {len(wrong)} of {len(shapes)} weights are missing or do not fit the config, "
            f"first {first}: got {found.get(first, 'none')}, expected {shapes[first]}"
        )
    if unknown := sorted(set(found) - set(shapes) - OPTIONAL):
        logger.warning("%s: ignored unknown weights: %s", where, ", ".join(unknown[:5]))


def _new_name(name: str) -> str:
    """The present name of a weight: attention had others before diffusers 0.15 (AudioLDM 1)."""
    if ".attentions." in name:
        for old, new in OLD_NAMES.items():
            name = name.replace(f".{old}.", f".{new}.")
    return name
