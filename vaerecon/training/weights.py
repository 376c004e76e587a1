"""Weights of one part: read and checked, or written. Without torch until a model is read."""

import json
from pathlib import Path
from typing import Any

from vaerecon.bundled import TINY
from vaerecon.models.checkpoints import load
from vaerecon.models.sources import VARIANTS
from vaerecon.utils.quiet import quiet_libraries

FILES = {
    "fast": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "vocoder": "model.safetensors",
}


def load_part(part: str, source: str | Path) -> Any:
    """One part of the model ``source``, float32 on the CPU.

    ``source`` is what :func:`vaerecon.models.checkpoints.load` takes, or a folder with this part
    alone: ``runs/mine`` with ``vae/`` in it, or ``runs/mine/vae``. ``fast`` is the bundled one
    (``"tiny"``) or in a folder. ValueError or OSError if it cannot be read, or is another model.
    """
    folder = part_folder(part, source)
    if folder is None:
        if part == "fast":
            raise ValueError(f"init: got {str(source)!r}, expected 'tiny' or a folder with fast/ "
                             "in it; AudioLDM2 has no such part")  # fmt: skip
        return getattr(load(source, device="cpu", dtype="float32"), part)
    weights = folder / FILES[part]
    if not weights.is_file():
        raise ValueError(f"init: {folder.name} has no {weights.name}; only safetensors are read, "
                         "as `vaerecon train` and save_pretrained write them")  # fmt: skip
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan

    from vaerecon.models.fast_vocoder import MagnitudeNetwork

    model_class = {"vae": AutoencoderKL, "vocoder": SpeechT5HifiGan, "fast": MagnitudeNetwork}[part]
    try:
        with quiet_libraries():
            return model_class.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    except Exception as error:  # a config or weights of another kind raise many
        raise ValueError(f"init: {folder.name} holds no {model_class.__name__}: {error}") from error


def write_part(model: Any, folder: Path) -> None:
    """Write config and safetensors into ``folder``, which is created, without any path in them."""
    with quiet_libraries():
        model.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # safetensors makes it private
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # a path of this machine
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def part_folder(part: str, source: str | Path) -> Path | None:
    """The folder of the part alone; None if ``source`` is a whole model or a name."""
    if part == "fast" and str(source) == "tiny":
        return TINY / "fast"
    folder = as_folder(source)
    if folder is None or (folder / "config.json").is_file():
        return folder
    whole = has_part(folder, "vae") and has_part(folder, "vocoder")
    return folder / part if has_part(folder, part) and (part == "fast" or not whole) else None


def as_folder(source: str | Path) -> Path | None:
    """The folder that ``source`` names; None for a variant or a hub id."""
    folder = Path(source)
    return folder if str(source) not in VARIANTS and folder.is_dir() else None


def has_part(folder: Path, part: str) -> bool:
    """Whether the folder has the part, trained or copied."""
    return (folder / part / "config.json").is_file()
