"""Check that a folder holds what a reconstruct run writes: ``check_demo.py results/demo``."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def refuse_nan(text: str) -> None:
    raise SystemExit(f"analysis.json holds {text}; a number that is missing must be null")


def main(folder: Path) -> None:
    (path,) = folder.glob("*_analysis.json")
    stem = path.name.removesuffix("_analysis.json")
    analysis = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_nan)

    for key in ("clip", "model", "mel", "latent", "methods", "without_vae", "versions", "seed"):
        if key not in analysis:
            raise SystemExit(f"{path}: no {key!r}")
    if analysis["schema"] != 1 or analysis["latent"]["shape"][0::2] != [8, 16]:
        raise SystemExit(f"{path}: got {analysis['schema']=}, {analysis['latent']=}")
    if not analysis["methods"]:
        raise SystemExit(f"{path}: no method was run")

    files = [f"{stem}_original.wav", f"{stem}_spectrograms.png"]
    files += [f["file"] for f in analysis["methods"].values() if f["file"]]
    if len(files) < 3:
        raise SystemExit(f"{path}: names no sound that was made")
    for name in files:
        size = (folder / name).stat().st_size
        if size < 1000:  # an empty WAV is 44 bytes, an empty picture less than this
            raise SystemExit(f"{folder / name}: only {size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
