"""Reports on one clip, and on a table of many, as one HTML file: a notebook without its code."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.audio.clip import look_at
from vaerecon.bundled import DEMO_CLIP, demo_clips
from vaerecon.comparison.table import read_measured, write_table
from vaerecon.lab.reports import table_scores
from vaerecon.models.sources import VARIANTS
from vaerecon.utils.files import whole_folder

if TYPE_CHECKING:
    import pandas as pd

    from vaerecon.metrics.scores import Metric

NOTEBOOK = Path(__file__).with_name("clip_report.ipynb")
TABLE_NOTEBOOK = Path(__file__).with_name("table_report.ipynb")


def write_report(
    clip: str | Path, output: str | Path, *, model: str = "tiny", methods: str = "all",
    max_length: float = 30.0, seed: int = 0, timeout: float = 1800.0,
) -> None:  # fmt: skip
    """Run the notebook of the report on one clip and write the page, whole or not at all.

    ``max_length`` and ``timeout`` are in seconds. The page has sounds and pictures in it and loads
    nothing. A failed run is a NotebookError, and what ran is in ``<output>.failed.html``.
    """
    clip, folder = Path(clip), Path(model).resolve()
    files = [clip]
    if model not in VARIANTS and folder.is_dir():
        files.append(folder)
        model = f"./{folder.name}"
    given = {"clip": clip.name, "model": model, "methods": methods, "max_length": max_length,
             "seed": seed}  # fmt: skip
    _write_page(NOTEBOOK, given, files, output, f"Report on {clip.name}", timeout)


def write_table_report(
    table: str | Path, output: str | Path, *, by: str = "", against: str = "",
    timeout: float = 1800.0,
) -> None:  # fmt: skip
    """As :func:`write_report`, of a table that ``compare``, ``sweep`` or ``evaluate`` wrote.

    ``by`` is a column to group by (domain or model by default, where there are several), and
    ``against`` the method that the others are compared with (the recommended one by default).
    Where the table names sounds, those of the worst and the best clips are in the page.
    """
    path = Path(table)
    rows = read_measured(path)
    scores = table_scores.system_scores(rows)
    table_scores.grouping(scores, by)  # refuse at once what the notebook would refuse
    table_scores.reference_system(scores, against)
    if "sound" in rows:  # from the table's folder; the notebook runs in another
        folder = path.parent.absolute()
        rows["sound"] = rows["sound"].map(lambda name: str(folder / name), na_action="ignore")
    with tempfile.TemporaryDirectory(prefix="vaerecon-") as scratch:
        copy = Path(scratch) / f"{path.stem}.parquet"
        write_table(rows, copy)
        given = {"table": copy.name, "by": by, "against": against}
        _write_page(TABLE_NOTEBOOK, given, [copy], output, f"Report on {path.name}", timeout)


def _write_page(
    notebook: Path, parameters: dict[str, Any], files: Sequence[Path], output: str | Path,
    subject: str, timeout: float,
) -> None:  # fmt: skip
    """Run a notebook on some files and write the page, or what ran of it beside that."""
    # what these need comes with the extra `notebooks`
    from vaerecon.lab.reports.pages import to_html
    from vaerecon.lab.reports.recording import NotebookError
    from vaerecon.lab.reports.runs import execute

    output = Path(output)
    failed = output.with_name(f"{output.stem}.failed.html")
    if output.is_dir():
        raise IsADirectoryError(f"--output: got {output.name!r}, which is a folder; name a file")
    with whole_folder(output.parent) as scratch:  # which shows at once if it cannot be written
        run = execute(notebook, parameters, timeout=timeout, files=files)
        page = scratch / (output if run.failure is None else failed).name
        page.write_text(to_html(run, hide_code=True, subject=subject), encoding="utf-8")
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


def play_rows(rows: pd.DataFrame, metric: Metric) -> None:
    """A player of the original and a method's sound for each of some rows, where both are kept.

    At most 30 s of each are read.
    """
    from vaerecon.audio.clip import load_audio
    from vaerecon.lab.listening.player import play

    kept = rows.dropna(subset="sound") if "sound" in rows else rows.iloc[:0]
    for row in kept.to_dict("records"):
        sound = Path(row["sound"])
        both = {"original": next(sound.parent.glob("*_original.wav"), sound), row["system"]: sound}
        if sound.is_file():
            tracks = {name: load_audio(path, max_length=30).samples for name, path in both.items()}
            value = metric.text(row[metric.name])
            play(tracks, reference="original", title=f"{row['clip']}: {metric.label} {value}")


def caveats(scores: pd.DataFrame) -> pd.DataFrame:
    """What each metric of a table does not tell."""
    import pandas as pd

    known = {metric.heading: metric.caveat for metric in table_scores.metrics_of(scores)}
    return pd.Series(known, name="what to keep in mind").rename_axis("metric").to_frame()
