"""The table of a comparison: a row for each clip, method and source; its file; its means."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.comparison.clips import SoundFile, Source
from vaerecon.comparison.intervals import bootstrap_mean
from vaerecon.comparison.journal import changed
from vaerecon.comparison.measure import Task
from vaerecon.metrics.scores import METRICS, ON_REQUEST
from vaerecon.utils.files import whole_file

if TYPE_CHECKING:
    import pandas as pd

# the columns in which the rows of a clip differ; a table has some of these
KEYS = ("method", "through_vae", "model", "setting")


def make_table(
    files: list[SoundFile], settings: Task, facts: dict[str, Any],
    entries: Iterable[dict[str, Any]], more: Mapping[str, str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The journal's entries as a table, in the order of ``files``; columns: see ``compare``.

    ``more`` are columns of the rows beyond those, with their types.
    """
    import pandas as pd

    found = {entry["file"]: entry for entry in entries}  # the last one, if a clip has changed
    rows = []
    for file in files:
        entry = found[file.key] | {"domain": file.domain}
        entry["model"] = entry["model"] or None  # none where no model is measured
        of_clip = {key: value for key, value in entry.items() if key not in ("rows", "notes")}
        for row in entry["rows"] or [{}]:
            notes = [*entry["notes"], *row.get("notes", [])]
            rows.append(of_clip | row | {"notes": "; ".join(notes) or None})
    text, whole, number = "string", "Int64", "float64"
    columns = {
        "file": text, "clip": text, "domain": text, "model": text, "method": text,
        "through_vae": "boolean", "sound": text, **(more or {}),
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


def _read(path: Path) -> pd.DataFrame:
    """A table of either kind of file; a ValueError for what cannot be read as one."""
    import pandas as pd

    words = {name: "string" for name in (*KEYS, "file", "domain", "sound", "notes", "error")}
    words |= {"revision": "string", "through_vae": "boolean"}
    with open(path, "rb") as file:  # a folder can be read as Parquet too, but is not ours
        try:
            if check_suffix(path) == ".parquet":
                return pd.read_parquet(file)
            # a folder may be called NA, so that only an empty cell has no value
            return pd.read_csv(file, dtype=words, keep_default_na=False, na_values=[""])
        except (ValueError, OSError) as error:  # pyarrow's errors are these
            raise ValueError(str(error).splitlines()[0][:200]) from None


def read_table(path: Path) -> pd.DataFrame:
    """A table that an earlier run has written; a ValueError for another file."""
    try:
        table = _read(path)
        if missing := {"file", "method", "seed"} - set(table):
            raise ValueError(f"no column {' and '.join(sorted(missing))}")
    except ValueError as error:
        raise ValueError(
            f"resume: {path.name!r} exists and is no table of compare, sweep or evaluate "
            f"({error}); name another file, or use --overwrite to replace it"
        ) from None
    return table


def check_same(
    table: pd.DataFrame, name: str, files: Sequence[str], record: dict[str, Any]
) -> pd.DataFrame:
    """The finished table in the file ``name``; a ValueError if it has other clips or settings.

    A parquet file holds all settings of ``record``; a CSV file those only that are columns.
    """
    has: dict[Any, Any] = {"clips": list(table["file"].unique())}
    wanted: dict[str, Any] = json.loads(json.dumps({"clips": list(files), **record}))
    if table.attrs:
        has = table.attrs | has
    else:
        methods = set(table["method"].dropna())
        has["methods"] = sorted(methods - {"silence", *record.get("codecs", ())})
        of_finished = [record["method"]] if "method" in record else []  # evaluate's
        wanted["methods"] = sorted({*record["methods"], *of_finished} - {"silence"})
        wanted = {key: value for key, value in wanted.items() if key in has or key in table}
        for key in wanted.keys() - has.keys():
            values = list(table[key].astype(object).where(table[key].notna(), None).unique())
            has[key] = values[0] if len(values) == 1 else values
    if changes := changed({key: has.get(key) for key in wanted}, wanted):
        raise ValueError(f"resume: {name!r} is complete and was made with others ({changes}); name "
                         "another file, or use --overwrite to replace it")  # fmt: skip
    return table


def summarize(table: pd.DataFrame, intervals: bool = False) -> pd.DataFrame:
    """Means over the clips: a row for each ``through_vae`` and method.

    Columns are pairs: a metric (or ``seconds``, ``real_time_factor``) and ``"mean"`` or
    ``"count"``, the number of clips that have a value: means of different clips do not compare.
    ``intervals``: also ``"lower"`` and ``"upper"`` of :func:`bootstrap_mean`.
    """
    import pandas as pd

    measured = table.dropna(subset="method")
    measured = measured.sort_values("through_vae", ascending=False, kind="stable")
    groups = measured.groupby(["through_vae", "method"], sort=False)
    names = [*METRICS, "seconds", "real_time_factor"]
    means = groups[names].agg(["mean", "count"])
    if intervals and len(means):
        for name in names:
            found = {key: bootstrap_mean(group) for key, group in groups[name]}
            for end in ("lower", "upper"):
                ends = {key: getattr(interval, end) for key, interval in found.items()}
                means[name, end] = pd.Series(ends).reindex(means.index)
    return means


def read_measured(path: Source) -> pd.DataFrame:
    """A written table in which at least one clip was measured.

    An OSError if it cannot be opened; a ValueError if it is no such table, is empty, has a row
    twice, or each of its clips failed.
    """
    import pandas as pd

    path = Path(path)
    try:
        table = _read(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"got the table {path.name!r}; there is none: check the name and the folder"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path.name}: this is no table ({error})") from None
    if table.empty:
        raise ValueError(f"{path.name}: got a table without rows")
    if missing := [name for name in ("file", "method") if name not in table]:
        raise ValueError(f"{path.name}: got no column {' and no '.join(missing)}, expected a table "
                         "that `vaerecon compare`, `sweep` or `evaluate` has written")  # fmt: skip
    known = [name for name in (*METRICS, *ON_REQUEST) if name in table]
    if not known:
        raise ValueError(f"{path.name}: got no metric, expected some of {', '.join(METRICS)}")
    if wrong := [m for m in known if not pd.api.types.is_numeric_dtype(table[m].convert_dtypes())]:
        raise ValueError(f"{path.name}: got text in {', '.join(wrong)}, expected numbers")
    measured = table.dropna(subset="method")
    if measured.empty:
        reason = next(iter(table.get("error", measured["file"]).dropna()), "no reason given")
        raise ValueError(f"{path.name}: none of its clips could be measured: {reason}")
    twice = measured[measured.duplicated([name for name in ("file", *KEYS) if name in table])]
    if len(twice):
        found = " ".join(str(twice.iloc[0][name]) for name in ("file", "method"))
        raise ValueError(f"{path.name}: got two rows for {found}, expected one; leave one out")
    return table.astype({m: "float64" for m in known})
