"""The table of a comparison: a row for each clip, method and source; its file; its means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vaerecon.comparison.clips import SoundFile, Source
from vaerecon.comparison.measure import Task
from vaerecon.metrics.scores import METRICS
from vaerecon.utils.files import whole_file

if TYPE_CHECKING:
    import pandas as pd


def make_table(
    files: list[SoundFile],
    settings: Task,
    facts: dict[str, Any],
    entries: Iterable[dict[str, Any]],
    more: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """The journal's entries as a table, in the order of ``files``; columns: see ``compare``.

    ``more`` are columns of the rows beyond those, with their types.
    """
    import pandas as pd

    found = {entry["file"]: entry for entry in entries}  # the last one, if a clip has changed
    rows = []
    for entry in (found[file.key] for file in files):
        of_clip = {key: value for key, value in entry.items() if key not in ("rows", "notes")}
        for row in entry["rows"] or [{}]:
            notes = [*entry["notes"], *row.get("notes", [])]
            rows.append(of_clip | row | {"notes": "; ".join(notes) or None})
    text, whole, number = "string", "Int64", "float64"
    columns = {
        "file": text, "clip": text, "method": text, "through_vae": "boolean", **more,
        **dict.fromkeys(METRICS, number),
        "seconds": number, "real_time_factor": number, "lag_samples": whole, "gain": number,
        "kbps": number, "vae_mae_nepers": number, "duration_s": number, "sha256": text,
        "notes": text, "error": text,
    }  # fmt: skip
    table = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    for name, value in (facts["model"] | {"seed": settings.seed}).items():
        kind = whole if isinstance(value, int) else text
        table[name] = pd.Series(value, index=table.index, dtype=kind)
    table.attrs = settings.to_record(facts)  # type: ignore[assignment]  # parquet keeps them
    return table


def check_suffix(output: Path) -> str:
    """``.parquet`` or ``.csv``; a ValueError for another name, or a folder."""
    suffix = output.suffix.lower()
    if suffix not in (".parquet", ".csv") or output.is_dir():
        raise ValueError(
            f"output: got {output.name!r}, expected the name of a .parquet or .csv file"
        )
    return suffix


def write_table(table: pd.DataFrame, output: Source) -> None:
    """Write a table as ``.parquet`` or ``.csv``, whole or not at all."""
    # an open file, because pyarrow takes no name that is not UTF-8
    with whole_file(output) as path, open(path, "wb") as file:
        if check_suffix(Path(output)) == ".parquet":
            table.to_parquet(file, index=False)
        else:
            table.to_csv(file, index=False)
        file.flush()
        os.fsync(file.fileno())  # on the disk before the journal goes


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the clips: a row for each ``through_vae`` and method.

    Columns are pairs: a metric (or ``seconds``, ``real_time_factor``) and ``"mean"`` or
    ``"count"``, the number of clips that have a value: means of different clips do not compare.
    """
    measured = table.dropna(subset="method").sort_values(
        "through_vae", ascending=False, kind="stable"
    )
    groups = measured.groupby(["through_vae", "method"], sort=False)
    return groups[[*METRICS, "seconds", "real_time_factor"]].agg(["mean", "count"])
