"""Report on one clip as one HTML file: the notebook ``clip_report.ipynb`` without its code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.audio.clip import look_at
from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.metrics.scores import METRICS
from vaerecon.models.sources import VARIANTS
from vaerecon.utils.files import whole_file

if TYPE_CHECKING:
    import pandas as pd

NOTEBOOK = Path(__file__).with_name("clip_report.ipynb")


def write_report(
    clip: str | Path,
    output: str | Path,
    *,
    model: str = "tiny",
    methods: str = "all",
    max_length: float = 30.0,
    seed: int = 0,
    timeout: float = 1800.0,
) -> None:
    """Run the notebook of the report on one clip and write the page, whole or not at all.

    ``model``, ``methods``, ``max_length`` and ``seed`` are its parameters; ``timeout`` is in
    seconds. The page contains sounds and pictures and loads nothing.

    An invalid parameter or path is a ValueError or OSError, a failed run a NotebookError; its
    partial result is in ``<output>.failed.html``.
    """
    # what these need comes with the extra `notebooks`
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
    given: dict[str, Any] = {"clip": clip.name, "model": model, "methods": methods, "seed": seed}
    given["max_length"] = max_length
    run = execute(NOTEBOOK, given, timeout=timeout, files=files)
    failed = output.with_name(f"{output.stem}.failed.html")
    target = output if run.failure is None else failed
    with whole_file(target) as scratch:
        page = to_html(run, hide_code=True, subject=f"Report on {clip.name}")
        scratch.write_text(page, encoding="utf-8")
    if run.failure is not None:
        raise NotebookError(f"{run.failure}; what ran is in {failed}", run)
    failed.unlink(missing_ok=True)


def file_length(clip: str) -> float | None:
    """Seconds of sound in a file (or the bundled clip, if empty); None if it does not tell."""
    return look_at(clip or demo_clips()[DEMO_CLIP])


def heard_text(name: str, seconds: float, length: float | None) -> str:
    """How much of a clip was read: ``seconds`` of ``length``, None if the file does not tell it."""
    if length is None:
        return f"{name}: {seconds:.1f} s were read; the file does not tell its length."
    if length - seconds < 0.05:
        return f"{name}: all of it, {seconds:.1f} s."
    return f"{name}: the first {seconds:.1f} s of {length:.1f} s."


def caveats(scores: pd.DataFrame) -> pd.DataFrame:
    """What each metric of a table does not tell."""
    import pandas as pd

    known = [metric for name, metric in METRICS.items() if name in scores]
    index = pd.Index([metric.heading for metric in known], name="metric")
    return pd.DataFrame({"what to keep in mind": [m.caveat for m in known]}, index=index)
