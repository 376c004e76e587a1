"""Put trained weights into the form that is shipped: float16 safetensors, checksums, the record."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from transformers import SpeechT5HifiGan

from vaerecon.outputs import whole_folder

WEIGHTS = {
    "vae": "diffusion_pytorch_model.safetensors",
    "vocoder": "model.safetensors",
}


def export(run: Path, target: Path) -> dict[str, str]:
    """Write ``target/vae`` and ``target/vocoder`` in float16, ``target/training.json`` beside them.

    Parameters
    ----------
    run
        Output folder of the trainings, with ``vae/`` and ``vocoder/`` and their ``*_run/`` folders.
    target
        For example ``vaerecon/bundled/tiny``.

    Returns
    -------
    dict
        File below ``target`` to sha256.

    Raises
    ------
    ValueError
        If a part has not been trained to its end.
    """
    models = {"vae": AutoencoderKL, "vocoder": SpeechT5HifiGan}
    for part in models:
        if not (run / part / "config.json").exists():
            raise ValueError(f"run: {run.name!r} has no {part}/; train it first")
    record: dict[str, dict] = {"sha256": {}}
    for part, model_class in models.items():
        model = model_class.from_pretrained(run / part).to(torch.float16)
        with whole_folder(target / part) as folder:
            model.save_pretrained(folder)
            (folder / WEIGHTS[part]).chmod(0o644)  # safetensors makes it private
            config = json.loads((folder / "config.json").read_text())
            config.pop("_name_or_path", None)  # a path of this machine
            (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
            digest = hashlib.sha256((folder / WEIGHTS[part]).read_bytes()).hexdigest()
        record["sha256"][f"{part}/{WEIGHTS[part]}"] = digest
        record[part] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            **_run_record(run / f"{part}_run"),
        }
    with whole_folder(target) as folder:
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return record["sha256"]


def _run_record(folder: Path) -> dict:
    """Settings, time and curve of one training."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    with (folder / "curve.csv").open(newline="") as handle:
        curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(handle)]
    return {
        "config": state["config"],
        "seconds": round(state["seconds"]),
        "curve": curve,
    }
