"""Baselines of the notebooks' recorded numbers, and the comparison of a run with them.

``notebooks/checks.yaml`` has the parameters of each notebook's check; a baseline file has the
numbers that it recorded, and their tolerances with the reasons::

    {"notebook": "01_mel_analysis",
     "parameters": {"max_length": 1.0},
     "made_with": {"device": "cpu", "versions": {"torch": "2.13.0"}},
     "metrics": {"frames": {"value": 100.0, "unit": "", "absolute": 0, "relative": 0,
                            "reason": "a count"}}}

A number may differ by ``absolute`` (in its unit) plus ``relative`` times its baseline.
"""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vaerecon.lab.reports.recording import Run
from vaerecon.utils.files import whole_folder

CHECKS = "checks.yaml"
FIELDS = {"timeout", "parameters", "files", "vary"}
# tolerances of a new number, to be edited
COUNT = {"absolute": 1e-6, "relative": 0.0, "reason": "a whole number"}
MEASURED = {"absolute": 0.0, "relative": 1e-3, "reason": "rounding: other threads and 3e-7 of "
            "noise moved such numbers by up to 0.05 %"}  # fmt: skip


class Check(NamedTuple):
    """Settings of one notebook's check."""

    path: Path  # the notebook
    timeout: float  # s, all its cells together
    parameters: dict[str, Any]
    files: tuple[Path, ...]  # that its parameters name
    vary: dict[str, Any]  # other values, that must move a number

    @property
    def name(self) -> str:
        return self.path.stem


class Drift(NamedTuple):
    """One number that differs from its baseline by more than its tolerance."""

    metric: str
    was: str
    now: str
    moved: str  # difference, or why there is none
    allowed: str
    reason: str  # of the tolerance


def read_checks(folder: Path, names: Sequence[str] = ()) -> list[Check]:
    """The checks in ``folder/checks.yaml``, in the order of the notebooks.

    ``names`` selects notebooks, with or without folder and suffix; all by default.
    """
    file = folder / CHECKS
    if not file.is_file():
        raise FileNotFoundError(
            f"notebooks: there is no {CHECKS} in {folder.name or 'this folder'!r}; start vaerecon "
            "in a checkout of the project, or name the folder of the notebooks (--notebooks-dir)"
        )
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{CHECKS}: not valid YAML ({error})") from None
    paths = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if not isinstance(entries, dict) or entries.keys() != paths.keys():
        raise ValueError(
            f"{CHECKS}: got entries for {', '.join(map(str, entries)) or 'nothing'}, expected one "
            f"for each notebook in its folder: {', '.join(paths) or 'there is none'}"
        )
    checks = {name: _check(path, entries[name]) for name, path in paths.items()}
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names] or list(checks)
    for name in wanted:
        if name not in checks:
            near = difflib.get_close_matches(name, checks, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"notebook: got {name!r}, expected one of {', '.join(checks)}{hint}")
    return [check for name, check in checks.items() if name in wanted]


def _check(path: Path, entry: Any) -> Check:
    where = f"{CHECKS}, {path.stem}"
    if not isinstance(entry, dict) or not entry.keys() <= FIELDS:
        raise ValueError(f"{where}: got {entry!r}, expected {', '.join(sorted(FIELDS))}")
    timeout: Any = entry.get("timeout")
    if type(timeout) not in (int, float) or not 0 < timeout < math.inf:
        raise ValueError(f"{where}: got timeout = {timeout!r}, expected seconds")
    given = {"parameters": {}, "vary": {}, "files": [], **entry}
    for key, kind in (("parameters", dict), ("vary", dict), ("files", list)):
        if not isinstance(given[key], kind):
            raise ValueError(f"{where}: got {key} = {entry[key]!r}, expected a {kind.__name__}")
    return Check(**given | {"path": path, "files": tuple(path.parent / x for x in given["files"])})


def read_baseline(folder: Path, name: str) -> dict[str, Any] | None:
    """A notebook's baseline, None without one; a ValueError if the file is not valid."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    try:
        baseline = json.loads(file.read_text(encoding="utf-8"))
        for metric, entry in baseline["metrics"].items():
            numbers = [entry[key] for key in ("value", "absolute", "relative")]
            fits = all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
            if not (fits and min(numbers[1:]) >= 0 and entry["reason"] and "unit" in entry):
                raise ValueError(f"{metric} = {entry}")
        if not {"parameters", "made_with"} <= baseline.keys():
            raise ValueError(", ".join(baseline))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{file.name}: not a baseline (got {error}, expected value, unit, absolute, relative "
            "and reason for each metric); mend it, or delete it and run `vaerecon check --update`"
        ) from None
    return baseline


def compare(baseline: Mapping[str, Any] | None, run: Run) -> list[Drift]:
    """The numbers of a run that differ from its baseline by more than the tolerance."""
    if baseline is None:
        return [Drift("-", "-", "-", "no baseline yet", "-", "run `vaerecon check --update`")]
    drifts = []
    before, given = baseline["parameters"], run.stamp["parameters"]
    if before != given:
        was, now = _different(before, given), _different(given, before)
        reason = "numbers of other parameters are not comparable"
        drifts.append(Drift("-", was, now, "other parameters", "-", reason))
    known, found = baseline["metrics"], run.records
    for name in known | found:
        old, new = known.get(name), found.get(name)
        allowed = "-"
        if old is None:
            moved, reason = "new", "not in the baseline"
        elif new is None:
            moved, reason = "gone", "no longer recorded"
        elif old["unit"] != new["unit"]:
            moved, reason = "other unit", "not comparable"
        else:
            difference = new["value"] - old["value"]
            limit = old["absolute"] + old["relative"] * abs(old["value"])
            if abs(difference) <= limit:
                continue
            share = f" ({100 * difference / old['value']:+.2g} %)" if old["value"] else ""
            moved, allowed, reason = f"{difference:+.4g}{share}", f"±{limit:.4g}", old["reason"]
        drifts.append(Drift(name, _show(old), _show(new), moved, allowed, reason))
    return drifts


def other_libraries(baseline: Mapping[str, Any] | None, run: Run) -> list[str]:
    """Libraries and device whose versions differ between the baseline and the run."""
    if baseline is None:
        return []
    was, now = ({"device": made["device"], **made["versions"]}
                for made in (baseline["made_with"], run.stamp))  # fmt: skip
    return [f"{name} {was.get(name)}, now {now.get(name)}"
            for name in was | now if was.get(name) != now.get(name)]  # fmt: skip


def renew(baseline: Mapping[str, Any] | None, run: Run) -> dict[str, Any]:
    """The baseline of a run: its values, with the tolerances and reasons of the old one."""
    known = baseline["metrics"] if baseline is not None else {}
    metrics = {}
    for name, new in run.records.items():
        tolerance = known.get(name)
        if tolerance is None or tolerance["unit"] != new["unit"]:
            tolerance = COUNT if float(new["value"]).is_integer() else MEASURED
        metrics[name] = new | {key: tolerance[key] for key in ("absolute", "relative", "reason")}
    made_with = {key: run.stamp[key] for key in ("device", "versions")}
    return {"notebook": run.name, "parameters": run.stamp["parameters"], "made_with": made_with,
            "metrics": metrics}  # fmt: skip


def write_baselines(folder: Path, baselines: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``<name>.json`` for each: all of them, or nothing."""
    with whole_folder(folder) as scratch:
        for name, baseline in baselines.items():
            text = json.dumps(baseline, indent=2, allow_nan=False, ensure_ascii=False)
            (scratch / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _show(entry: Mapping[str, Any] | None) -> str:
    return "-" if entry is None else f"{entry['value']:.6g} {entry['unit']}".rstrip()


def _different(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The items of ``mine`` that are not in ``other``."""
    found = (f"{k}={v!r}" for k, v in mine.items() if k not in other or other[k] != v)
    return ", ".join(found) or "-"
