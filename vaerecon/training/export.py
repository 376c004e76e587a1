"""Put trained weights into the form that is shipped: float16 safetensors, checksums, the record."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from vaerecon.training.loop import read_checkpoint, read_curve
from vaerecon.training.model_folder import REQUIRED, has_part, read_record, write_record
from vaerecon.training.weights import FILES, load_part, write_part
from vaerecon.utils.files import whole_folder
from vaerecon.utils.quiet import quiet_libraries


def export(run: Path, target: Path) -> dict[str, str]:
    """Write each part to ``target`` in float16, ``training.json`` and the model card beside them.

    All of it appears together or not at all; the same run gives the same bytes. A VAE's
    ``scaling_factor`` is the one that its training measured; for a run of before that was done,
    ``vaerecon train vae --resume`` measures it.

    Parameters
    ----------
    run
        Output folder of the trainings, with ``vae/``, ``vocoder/``, perhaps ``fast/``, and the
        ``*_run/`` folders of those that were trained; the record names the others as copies.
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
        if not has_part(run, part):
            raise ValueError(f"run: {run.name!r} has no {part}/; train it first")
    known, digests, record = read_record(run), {}, {}
    with whole_folder(target) as folder:
        for part in (part for part in FILES if has_part(run, part)):
            with quiet_libraries():
                model = load_part(part, run / part).to(torch.float16)
            write_part(model, folder / part)
            name = f"{part}/{FILES[part]}"
            digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            entry = known.get(part, {"trained": True})
            own_run = run / f"{part}_run"  # none where a finished model was exported before
            trained = (
                _run_record(own_run) if own_run.is_dir() and entry.get("trained", True) else {}
            )
            record[part] = {"parameters": sum(p.numel() for p in model.parameters()),
                            **entry, **trained}  # fmt: skip
        write_record({"sha256": digests} | record, folder, Path(target))
    return digests


def _run_record(folder: Path) -> dict:
    """Settings, time and curve of one training."""
    state = read_checkpoint(folder / "checkpoint.pt")
    return {
        "config": state["config"] | {"steps": state["steps"]},
        "objective": state["objective"],
        "seconds": round(state["seconds"]),
        "curve": read_curve(folder / "curve.csv"),
    }
