"""Export trained weights for distribution: float16 safetensors, checksums, the record."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from vaerecon.training.model_folder import REQUIRED, Record, has_part, read_record, write_record
from vaerecon.training.run_files import read_checkpoint, read_curve
from vaerecon.training.weights import FILES, load_part, write_part
from vaerecon.utils.files import whole_folder
from vaerecon.utils.quiet import quiet_libraries


def export(run: Path, target: Path) -> dict[str, str]:
    """Write each part to ``target`` in float16, ``training.json`` and the model card beside them.

    All of it appears together or not at all; the same run gives the same bytes. ``run`` is the
    output folder of the trainings, with ``vae/``, ``vocoder/``, perhaps ``fast/``, and the
    ``*_run/`` folders of those that were trained; the record names the others as copies. A VAE's
    ``scaling_factor`` is the one that its training measured; for an older run
    ``vaerecon train vae --resume`` measures it. Returns the sha256 of each file below ``target``.

    Raises
    ------
    ValueError
        If a part is missing.
    """
    run = Path(run)
    for part in REQUIRED:
        if not has_part(run, part):
            raise ValueError(f"run: {run.name!r} has no {part}/; train it first")
    known, record = read_record(run), Record()
    digests: dict[str, str] = {}
    with whole_folder(target) as folder:
        for part in (part for part in FILES if has_part(run, part)):
            with quiet_libraries():
                model = load_part(part, run / part).to(torch.float16)
            write_part(model, folder / part)
            name = f"{part}/{FILES[part]}"
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            record[part] = {"parameters": sum(p.numel() for p in model.parameters())}
            record[part] |= known.get(part, {"trained": True})
            own_run = run / f"{part}_run"  # none where a finished model was exported before
            if own_run.is_dir() and record[part].get("trained", True):
                record[part] |= _run_record(own_run)
        write_record({"sha256": digests} | record, folder, Path(target))
    return digests


def _run_record(folder: Path) -> dict[str, Any]:
    """Settings, time and curve of one training."""
    state = read_checkpoint(folder / "checkpoint.pt")
    return {
        "config": state["config"] | {"steps": state["steps"]},
        "objective": state["objective"],
        "seconds": round(state["seconds"]),
        "curve": read_curve(folder / "curve.csv"),
    }
