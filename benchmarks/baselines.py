"""How far rounding moves the numbers of the notebooks, and how far a fault does.

python -m benchmarks.baselines [NOTEBOOK ...] [--faults] [--update]

Each notebook runs as ``vaerecon check`` runs it, with four seeds, and for each seed on one thread
and on two. What the threads change is rounding, and every seed amplifies it in another way. The
largest change has to stay below two thirds of the tolerance. What another seed itself changes
stands beside it: a run with another seed than the baseline's must not pass for the same.
A notebook without a seed runs once on each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.common import table
from benchmarks.mutants import ADMM, HYBRID, NO_SEED, NOT_HELD, ROOT, checkout_copy, planted
from vaerecon.lab.reports.baselines import Check, read_baseline, read_checks, write_baselines
from vaerecon.lab.reports.runs import execute
from vaerecon.utils.console import run_command

SEEDS = 4  # the check's own and the next
THREADS = (1, 2)
SHARE = 2 / 3  # of the tolerance, that rounding may take
BASELINES = ROOT / "tests" / "baselines"
COMPARED = "04_method_comparison"  # its numbers are those of the methods
FAULTS = {
    "hybrid gives the vocoder's sound": HYBRID,
    "admm gives Griffin-Lim's": ADMM,
    "griffinlim is not held to the mel": NOT_HELD,
    "the flow ignores the seed": NO_SEED,
}


def numbers(check: Check, seed: int | None, threads: int, package: Path = ROOT) -> dict[str, float]:
    """What a notebook records with this seed, on so many threads, with the package found there."""
    os.environ |= {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(package)}
    given = check.parameters | ({} if seed is None else {"seed": seed})
    run = execute(check.path, given, timeout=check.timeout, files=check.files, cpu=True)
    if run.failure is not None:
        raise ValueError(run.failure)
    return {name: entry["value"] for name, entry in run.records.items()}


def allowed(entry: Mapping[str, Any], value: float) -> float:
    """How far a number may move."""
    return entry["absolute"] + entry["relative"] * abs(value)


def rounding(check: Check, baseline: dict[str, Any]) -> tuple[list[list[str]], dict[str, float]]:
    """A row for each number, and of each the largest relative change between threads."""
    first = baseline["parameters"].get("seed")
    runs = []
    for seed in [None] if first is None else range(first, first + SEEDS):
        runs.append([numbers(check, seed, threads) for threads in THREADS])
        click.echo(f"{check.name}, {'no seed' if seed is None else f'seed {seed}'}", err=True)
    rows, changes = [], {}
    for name, entry in baseline["metrics"].items():
        pairs = [(one[name], two[name]) for one, two in runs]
        shares = [abs(a - b) / allowed(entry, a) for a, b in pairs]
        changes[name] = max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)
        spread = max(a for a, _ in pairs) - min(a for a, _ in pairs)
        rows.append([
            name,
            f"{entry['value']:.6g} {entry['unit']}".rstrip(),
            f"{allowed(entry, entry['value']):.2g}",
            f"{max(abs(a - b) for a, b in pairs):.2g}",
            f"{max(shares):.1%}" + (" **too much**" if max(shares) > SHARE else ""),
            f"{spread:.2g}",
        ])  # fmt: skip
    return rows, changes


def renewed(baseline: dict[str, Any], changes: Mapping[str, float]) -> dict[str, Any]:
    """The baseline with wider tolerances where rounding takes more than its share."""
    for name, entry in baseline["metrics"].items():
        moved = changes[name] * abs(entry["value"])
        if moved > SHARE * allowed(entry, entry["value"]):
            digit = 10 ** math.floor(math.log10(changes[name]))
            entry["absolute"], entry["relative"] = 0.0, digit * math.ceil(3 * changes[name] / digit)
            entry["reason"] = (
                f"rounding: with {SEEDS} seeds, another number of threads moved it by up to "
                f"{100 * changes[name]:.1g} %"
            )
    return baseline


def fault_rows(check: Check, baseline: dict[str, Any]) -> list[list[str]]:
    """For each fault, the number that leaves its tolerance by most."""
    rows = []
    with checkout_copy() as copy:
        for title, fault in FAULTS.items():
            with planted(fault, copy):
                found = numbers(check, baseline["parameters"]["seed"], THREADS[-1], copy)
            shares = {
                name: abs(found[name] - entry["value"]) / allowed(entry, entry["value"])
                for name, entry in baseline["metrics"].items()
            }
            most = max(shares, key=shares.__getitem__)
            beyond = sum(share > 1 for share in shares.values())
            was = baseline["metrics"][most]["value"]
            moved = f"{most}, {was:.4g} to {found[most]:.4g}"
            rows.append([title, str(beyond), moved, f"{shares[most]:.3g}"])
            click.echo(title, err=True)
    return rows


@click.command()
@click.argument("notebooks", nargs=-1)
@click.option("--faults", is_flag=True, help=f"Put each of {len(FAULTS)} faults into {COMPARED}.")
@click.option("--update", is_flag=True, help="Widen the tolerances that rounding nearly fills.")
def main(notebooks: tuple[str, ...], faults: bool, update: bool) -> None:
    """Measure NOTEBOOKS (default: all) against their baselines."""
    baselines = {}
    for check in read_checks(ROOT / "notebooks", notebooks):
        baseline = read_baseline(BASELINES, check.name)
        if baseline is None:
            raise ValueError(f"{check.name}: no baseline yet; run `vaerecon check --update`")
        if faults:
            if check.name == COMPARED:
                head = ["fault", "numbers beyond", "furthest", "times its tolerance"]
                click.echo(table(head, fault_rows(check, baseline)))
            continue
        rows, changes = rounding(check, baseline)
        baselines[check.name] = renewed(baseline, changes)
        head = ["number", "value", "tolerance", "by threads", "of the tolerance", "by seed"]
        click.echo(f"\n{check.name}\n\n{table(head, rows)}")
    if update and baselines:
        write_baselines(BASELINES, baselines)


if __name__ == "__main__":
    run_command(main)
