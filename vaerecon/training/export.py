"""Put trained weights into the form that is shipped: float16 safetensors, checksums, the record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from vaerecon.outputs import whole_folder
from vaerecon.training.initial import FILES, load_part
from vaerecon.training.loop import read_checkpoint, read_curve
from vaerecon.training.quiet import quiet_libraries

REQUIRED = ("vae", "vocoder")  # without them it is no model; `fast` is there or not


def export(run: Path, target: Path) -> dict[str, str]:
    """Write each trained part to ``target`` in float16, ``target/training.json`` beside them.

    All of it appears together or not at all; the same run gives the same bytes. A VAE's
    ``scaling_factor`` is the one that its training measured; for a run of before that was done,
    ``vaerecon train vae --resume`` measures it.

    Parameters
    ----------
    run
        Output folder of the trainings, with ``vae/``, ``vocoder/``, perhaps ``fast/``, and their
        ``*_run/`` folders.
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
    run = Path(run)
    for part in REQUIRED:
        if not (run / part / "config.json").exists():
            raise ValueError(f"run: {run.name!r} has no {part}/; train it first")
    parts = [part for part in FILES if (run / part / "config.json").exists()]
    record: dict[str, dict] = {"sha256": {}}
    with whole_folder(target) as folder:
        for part in parts:
            with quiet_libraries():
                model = load_part(part, run / part).to(torch.float16)
                model.save_pretrained(folder / part)
            weights = folder / part / FILES[part]
            weights.chmod(0o644)  # safetensors makes it private
            config_file = folder / part / "config.json"
            config = json.loads(config_file.read_text())
            config.pop("_name_or_path", None)  # a path of this machine
            config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
            record["sha256"][f"{part}/{FILES[part]}"] = hashlib.sha256(
                weights.read_bytes()
            ).hexdigest()
            record[part] = {
                "parameters": sum(p.numel() for p in model.parameters()),
                **_run_record(run / f"{part}_run"),
            }
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return record["sha256"]


def _run_record(folder: Path) -> dict:
    """Settings, time and curve of one training."""
    state = read_checkpoint(folder / "checkpoint.pt")
    return {
        "config": state["config"] | {"steps": state["steps"]},
        "objective": state["objective"],
        "seconds": round(state["seconds"]),
        "curve": read_curve(folder / "curve.csv"),
    }
