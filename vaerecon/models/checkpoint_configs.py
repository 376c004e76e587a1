"""The configs of a checkpoint, checked before anything large is fetched or allocated."""

import inspect
import json
from pathlib import Path
from typing import Any, NoReturn

# without these AutoencoderKL would leave out layers or compute something else
VAE_KEYS = (
    "block_out_channels", "down_block_types", "up_block_types", "latent_channels",
    "layers_per_block", "norm_num_groups",
)  # fmt: skip
# what SpeechT5HifiGan reads of its config
VOCODER_KEYS = (
    "model_in_dim", "sampling_rate", "upsample_initial_channel", "upsample_rates",
    "upsample_kernel_sizes", "resblock_kernel_sizes", "resblock_dilation_sizes",
    "leaky_relu_slope", "normalize_before",
)  # fmt: skip
# largest values; what is larger would take forever even on the meta device
NUMBERS = {
    "layers_per_block": 16, "norm_num_groups": 16384, "upsample_initial_channel": 16384,
    "latent_channels": 4096,
}  # fmt: skip
LISTS = {
    "block_out_channels": 16384, "upsample_rates": 1024, "upsample_kernel_sizes": 4096,
    "resblock_kernel_sizes": 1024, "resblock_dilation_sizes": 1024,
}  # fmt: skip
MAX_CONFIG_BYTES = 1_000_000  # a real one has about 1 kB
MAX_PARAMETERS = 600_000_000  # per model, ten times AudioLDM2's


def models_from_configs(paths: dict[str, Path], where: str) -> dict[str, Any]:
    """VAE and vocoder as their configs describe them, on the meta device: shapes without memory.

    Configs of another model, of an absurd size, or that do not fit the mel are refused. Of a config
    only what shapes the model is read: the libraries would also follow a ``quantization_config``
    or set up a hundred million labels.
    """
    configs = {
        part: read_config(path, f"{where}: {part}/config.json") for part, path in paths.items()
    }
    vae, vocoder = configs["vae"], configs["vocoder"]
    _check_kind(vae, vocoder, where)
    for part, config in configs.items():
        _check_numbers(config, f"{where}: {part}/config.json")

    import torch
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    from vaerecon.mel.config import check_model_configs

    known = set(inspect.signature(AutoencoderKL.__init__).parameters) - {"self"}
    vae = {name: value for name, value in vae.items() if name in known}
    vocoder = {name: value for name, value in vocoder.items() if name in VOCODER_KEYS}
    models: dict[str, Any] = {}
    try:
        with torch.device("meta"):
            models["vae"] = AutoencoderKL(**vae)
            models["vocoder"] = SpeechT5HifiGan(SpeechT5HifiGanConfig(**vocoder))
    except Exception as error:  # the constructors raise many for wrong values
        part = "vocoder" if "vae" in models else "vae"
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where}: {part}/config.json describes no model: {reason}") from error
    for part, model in models.items():
        count = sum(parameter.numel() for parameter in model.parameters())
        if count > MAX_PARAMETERS:
            raise ValueError(f"{where}: {part} would have {count:,} parameters, expected at most "
                             f"{MAX_PARAMETERS:,} (AudioLDM2's has 55 million)")  # fmt: skip
    try:
        check_model_configs(models["vae"].config, models["vocoder"].config)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return models


def _check_kind(vae: dict[str, Any], vocoder: dict[str, Any], where: str) -> None:
    """Refuse configs of other models, and a VAE's that leaves out what shapes it."""
    if vae.get("_class_name") != "AutoencoderKL":
        got = vae.get("_class_name")
        raise ValueError(f"{where}: vae is of class {got!r}, expected 'AutoencoderKL'")
    kind = vocoder.get("architectures") or vocoder.get("model_type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind not in ("SpeechT5HifiGan", "speecht5_hifigan", "hifigan"):
        raise ValueError(f"{where}: vocoder is of class {kind!r}, expected 'SpeechT5HifiGan'")
    if missing := [name for name in VAE_KEYS if name not in vae]:
        raise ValueError(f"{where}: vae/config.json has no {missing[0]!r}, without which another "
                         "model would be built; download the checkpoint again")  # fmt: skip


def read_config(path: Path, where: str) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise ValueError(f"{where}: has {size:,} bytes, expected at most {MAX_CONFIG_BYTES:,}")

    def no_number(name: str) -> NoReturn:
        raise ValueError(f"{name} in it")

    try:
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_number)
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8; nested without end
        raise ValueError(
            f"{where}: is not JSON ({error}); download the checkpoint again"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"{where}: got a JSON {type(config).__name__}, expected an object")
    return config


def _check_numbers(config: dict[str, Any], where: str) -> None:
    """Refuse numbers and sizes of layers beyond :data:`NUMBERS` and :data:`LISTS`."""
    for name, bound in (NUMBERS | LISTS).items():
        if name not in config:
            continue
        values = config[name] if name in LISTS else [config[name]]
        fits = isinstance(values, list) and len(values) <= 16
        if fits and name == "resblock_dilation_sizes":  # a list for each kernel
            fits = all(isinstance(inner, list) and len(inner) <= 16 for inner in values)
            values = [value for inner in values for value in inner] if fits else values
        if not fits or not all(type(value) is int and 1 <= value <= bound for value in values):
            kind = "up to 16 whole numbers" if name in LISTS else "a whole number"
            kind = "up to 16 lists of " + kind if name == "resblock_dilation_sizes" else kind
            raise ValueError(
                f"{where}: {name} is {str(config[name])[:60]}, expected {kind} from 1 to {bound}"
            )
