"""The folder that trainings write: a whole model, with copies of the parts that were not trained.

``training.json`` and the model card ``README.md`` say where each part comes from, without any path.
:func:`export` makes a smaller folder for distribution.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from vaerecon.models.sources import VARIANTS
from vaerecon.training.run_files import read_checkpoint, read_curve, run_folder
from vaerecon.training.weights import FILES, as_folder, has_part, load_part, write_part
from vaerecon.utils.files import whole_folder
from vaerecon.utils.quiet import quiet_libraries

logger = logging.getLogger(__name__)

RECORD, CARD = "training.json", "README.md"
REQUIRED = ("vae", "vocoder")  # without them it is no model; `fast` is there or not
WRITTEN_BY = "Written by `vaerecon train`."  # a card without these words is not replaced
CARD_HEAD = f"""---
library_name: diffusers
tags: [audio, vae, vocoder, audioldm2]
---

# A model for AudioLDM2's log-mel

{WRITTEN_BY} `{RECORD}` beside it has the same for programs.

| part | trained here | weights | their licence |
|---|---|---|---|
"""

Record = dict[str, dict[str, Any]]  # by part: trained, init or copied_from, and more


def begin(output: Path, part: str, init: str | Path | None) -> None:
    """Copy the missing parts of a model from ``init``, else from ``tiny``, before a training.

    ``fast`` is copied only from a folder ``init`` that has it: the bundled one is the default.
    """
    record = read_record(output)
    record.pop("sha256", None)  # of an exported folder: the weights are going to change
    entry = record.setdefault(part, {"trained": False})
    if init is not None:
        entry["init"] = source_name(init)
    with whole_folder(output) as new:
        for other in FILES:
            source = _source_of(other, init)
            if source is None or other == part or has_part(output, other):
                continue
            write_part(load_part(other, source), new / other)
            record[other] = {"trained": False, "copied_from": source_name(source)}
            logger.info("%s: not trained, copied from %s", other, source_name(source))
        write_record(record, new, output)


def finish(output: Path, part: str, model: Any, facts: dict[str, Any]) -> None:
    """Write a trained part in place of a copy, and its record with ``facts``."""
    record = read_record(output)
    record[part] = {"trained": True, "init": record.get(part, {}).get("init"), **facts}
    with whole_folder(output) as new:
        write_part(model, new / part)
        write_record(record, new, output)


def is_trained(folder: Path, part: str) -> bool:
    """Whether the part in ``folder`` is the result of a training there."""
    return has_part(folder, part) and read_record(folder).get(part, {}).get("trained", True)


def source_name(source: str | Path) -> str:
    """A variant, a hub id, or a folder's name without its path."""
    folder = as_folder(source)
    return folder.resolve().name if folder else str(source)


def read_record(folder: Path) -> Record:
    """The content of ``training.json``, by part; empty without the file."""
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_record(record: Record, folder: Path, target: Path) -> None:
    """Write record and card into ``folder``, which becomes ``target``; a user's own card stays."""
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    card = target / CARD
    if not card.exists() or WRITTEN_BY in card.read_text(encoding="utf-8", errors="replace"):
        (folder / CARD).write_text(model_card(record), encoding="utf-8")


def model_card(record: Record) -> str:
    """The card as Markdown: for each part whether it was trained, and from which weights."""
    text = CARD_HEAD
    for part in FILES:
        text += f"| {part} | {' | '.join(_row(part, record.get(part)))} |\n"
    vae = record.get("vae", {})
    if vae.get("trained") and "scaling_factor" in vae:
        measured = "1 / the standard deviation of the held-out latents"
        how = measured if vae["encoder_trained"] else "as before, because the encoder was frozen"
        text += f"\n`scaling_factor` of the VAE: {vae['scaling_factor']:.4g}, {how}.\n"
    return text


def _row(part: str, entry: dict[str, Any] | None) -> tuple[str, str, str]:
    """Whether a part was trained, from which weights, and the licence of those."""
    if entry is None:
        return "no", f"none here: the kit's own `{part}` is used", "Apache-2.0"
    if "copied_from" in entry:
        source = entry["copied_from"]
        return "**no**", f"a copy of {source}, not trained", _licence(source)
    if not entry.get("trained", True):
        return "not to its end", "none yet", "-"
    source = entry.get("init")
    if source is None:
        return "yes", "trained from random weights", "-"
    return "yes", f"trained from {source}", _licence(source)


def _licence(source: str) -> str:
    return VARIANTS[source].licence if source in VARIANTS else f"see {source}"


def _source_of(part: str, init: str | Path | None) -> str | Path | None:
    """Where a part that is not trained is copied from; None for a ``fast`` that need not be."""
    folder = None if init is None else as_folder(init)
    if folder is not None and has_part(folder, part):
        return init
    if part == "fast":
        return None
    return "tiny" if init is None or folder is not None else init


def export(run: Path, target: Path) -> dict[str, str]:
    """Write the parts of ``run``, the output of trainings, to ``target`` in float16.

    With them ``training.json`` and the model card; all appear together or not at all, and the same
    run gives the same bytes. A VAE's ``scaling_factor`` is the one that its training measured; for
    an older run ``vaerecon train vae --resume`` measures it. Returns the sha256 of each weights
    file. A ValueError if a part is missing.
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
            own_run = run_folder(run, part)  # none where a finished model was exported before
            if own_run.is_dir() and record[part].get("trained", True):
                state = read_checkpoint(own_run / "checkpoint.pt")
                record[part] |= {
                    "config": state["config"] | {"steps": state["steps"]},
                    "objective": state["objective"],
                    "seconds": round(state["seconds"]),
                    "curve": read_curve(own_run / "curve.csv"),
                }
        write_record({"sha256": digests} | record, folder, Path(target))
    return digests
