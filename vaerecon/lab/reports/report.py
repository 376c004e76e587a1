"""Report on one clip as one HTML file: the comparison notebook without its code."""

from __future__ import annotations

import contextlib
from importlib import metadata
from pathlib import Path
from typing import Any

from vaerecon.models.sources import VARIANTS
from vaerecon.utils.files import whole_file

COMPARISON = "04_method_comparison.ipynb"


def find_notebook(name: str) -> Path:
    """Path of a notebook of the kit, in a checkout or as installed by pip."""
    above = Path(__file__).parents[3]
    places = [above / "notebooks", above / "share/vaerecon/notebooks"]  # checkout, pip --target
    # elsewhere pip knows where it put share/vaerecon
    with contextlib.suppress(metadata.PackageNotFoundError):
        files = metadata.files("vaerecon") or []
        places += [Path(f.locate()).resolve().parent for f in files if f.name == name]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise FileNotFoundError(
        f"notebook: {name} is neither in a checkout nor installed; install vaerecon again"
    )


def write_report(
    clip: str | Path,
    output: str | Path,
    *,
    model: str = "tiny",
    methods: str = "all",
    max_length: float | None = None,
    seed: int = 0,
    timeout: float = 1800.0,
) -> None:
    """Run the comparison on one clip and write the page, whole or not at all.

    ``model``, ``methods``, ``max_length`` and ``seed`` are parameters of the notebook; ``timeout``
    is in seconds. The page contains sounds and pictures and loads nothing.

    An invalid parameter or path is a ValueError or OSError, a failed run a NotebookError; its
    partial result is in ``<output>.failed.html``.
    """
    # what these need comes with the extra `notebooks`; find_notebook works without
    from vaerecon.lab.reports.outcome import NotebookError
    from vaerecon.lab.reports.pages import to_html
    from vaerecon.lab.reports.runs import execute

    clip, output, folder = Path(clip), Path(output), Path(model)
    if output.is_dir():
        raise IsADirectoryError(f"--output: got {output.name!r}, which is a folder; name a file")
    files = [clip]
    if model not in VARIANTS and folder.is_dir():
        files.append(folder.resolve())
        model = f"./{folder.resolve().name}"
    given: dict[str, Any] = {"clips": [clip.name], "model": model, "methods": methods, "seed": seed}
    if max_length is not None:
        given["max_length"] = max_length
    run = execute(find_notebook(COMPARISON), given, timeout=timeout, files=files)
    failed = output.with_name(f"{output.stem}.failed.html")
    target = output if run.failure is None else failed
    subject = f"Report on {clip.name}: what the VAE and each method keep"
    with whole_file(target) as scratch:
        scratch.write_text(to_html(run, hide_code=True, subject=subject), encoding="utf-8")
    if run.failure is not None:
        raise NotebookError(f"{run.failure}; what ran is in {failed}", run)
    failed.unlink(missing_ok=True)
