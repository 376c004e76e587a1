"""Finished sounds, of any codec, against their references, to a table as that of ``compare``.

>>> table = evaluate_files("clips/", "decoded/opus/", lag="measured")
>>> table[["visqol", "lsd_db"]].mean()

Pairs have one name below their folders, without the suffix, or stand in a CSV file. Both sides are
read as any clip is (mono, 16 kHz) and lose their mean; nothing is scaled. The estimates are moved
by one lag, the same for all, and cut or filled with zeros to the length of their reference.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vaerecon.audio.paths import plain_text
from vaerecon.comparison.clips import SoundFile, Source, find_clips
from vaerecon.comparison.measure import Task, describe, measure_file, one_at_a_time, without_path
from vaerecon.comparison.run import Work, measure_clips
from vaerecon.comparison.set_distances import SetDistances, check_sets
from vaerecon.comparison.table import make_table
from vaerecon.metrics.scores import METRICS, metric_names

if TYPE_CHECKING:
    import pandas as pd

RATE = 16000  # Hz
LOOKED_AT = 32  # clips, over the whole set, by which the lag is measured
BEGINNING = 20.0  # s of each
LONGEST_LAG = RATE  # samples, early or late
CLEAR = 0.5  # correlation at the peak, below which a clip says nothing of the lag
OTHER_LENGTH = 0.1  # s; a larger difference of the lengths is noted


@dataclass(frozen=True, kw_only=True)
class Evaluation(Task):
    """What the numbers depend on besides the references."""

    method: str
    lag: int  # samples by which the estimates are late
    lag_basis: str  # where that is from
    estimates: dict[str, str]  # path of a reference -> path of its estimate

    def to_record(self, facts: dict[str, Any]) -> dict[str, Any]:
        """A hash in place of the paths and times of the estimates."""
        digest = hashlib.sha256()
        for path in self.estimates.values():
            status = os.stat(path)
            digest.update(
                f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "replace")
            )
        return super().to_record(facts) | {"estimates": digest.hexdigest()}


class Pairs(NamedTuple):
    """References, and the estimate of each."""

    method: str  # name of the folder of estimates, or of the one file without its suffix
    references: list[SoundFile]
    estimates: dict[str, str]  # path -> path


def evaluate_files(
    reference: Source,
    estimate: Source,
    *,
    output: Source | None = None,
    pairs: Source | None = None,
    lag: int | str = "measured",
    metrics: str | Iterable[str] = "all",
    sets: str | Iterable[str] = (),
    allow_missing: bool = False,
    workers: int | None = None,
    threads: int = 1,
    resume: bool = False,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Measure finished sounds.

    Parameters
    ----------
    reference, estimate
        Two files or two folders.
    pairs
        CSV file with the columns ``reference`` and ``estimate``: paths below the two folders.
    lag
        Samples at 16 kHz by which the estimates are late (below 0: early); ``"measured"``: once,
        by the cross-correlation of up to 32 clips, the median of their peaks; or ``"none"``. What
        is measured counts only where half of the clips agree within a sample, else it is 0 and a
        warning says so: sound with a phase of its own has no such peak.
    metrics
        Names; ``"all"`` are those of ``METRICS``. ``"dnsmos"`` has to be named.
    sets
        Distances of the two sets too, in ``table.attrs["sets"]``: ``"latent"`` (of ``tiny``, or
        ``"latent:music"``) or ``"clap:owner/name"``; see :mod:`vaerecon.comparison.set_distances`.
    allow_missing
        Leave out sounds without a partner, with a warning; by default they are an error.
    output, workers, threads, resume, overwrite
        As :func:`vaerecon.compare` takes them.

    Returns
    -------
    pandas.DataFrame
        One row a pair, with the columns of ``compare`` that are not of a model. ``file`` is the
        reference, ``method`` the name of the estimates' folder; ``lag_samples`` was taken off.

    Raises
    ------
    ValueError, OSError
        Those of ``compare``; also for sounds without a partner, and another ``lag`` or ``sets``.
    """
    asked = metrics.split(",") if isinstance(metrics, str) else list(metrics)
    names = [name for item in asked for name in (METRICS if item == "all" else [item])]
    wanted, specs = metric_names("metrics", names), check_sets(sets)
    found = find_pairs(reference, estimate, pairs, allow_missing)
    late, basis = _lag_of(lag, found)
    settings = Evaluation(
        method=found.method, lag=late, lag_basis=basis, estimates=found.estimates, methods=(),
        max_length=None, seed=0, threads=threads, metrics=tuple(dict.fromkeys([*METRICS, *wanted])),
        exclude_metrics=tuple(name for name in METRICS if name not in wanted),
    )  # fmt: skip
    more = {name: "float64" for name in wanted if name not in METRICS}
    distances = [SetDistances(spec) for spec in specs]  # an error in loading is met before the work
    work = Work(describe, _measure, partial(_tabulate, distances=distances, more=more))

    def find() -> list[SoundFile]:
        return found.references

    return measure_clips(find, [settings], work, output, workers, None, resume, overwrite)


def _tabulate(
    files: list[SoundFile], settings: Evaluation, facts: Any, entries: Any,
    distances: list[SetDistances], more: dict[str, str],
) -> pd.DataFrame:  # fmt: skip
    table = make_table(files, settings, facts, entries, more)
    sides = list(settings.estimates), list(settings.estimates.values())
    table.attrs["sets"] = [distance(*sides) for distance in distances]
    return table


def find_pairs(
    reference: Source, estimate: Source, pairs: Source | None = None, allow_missing: bool = False
) -> Pairs:
    """The pairs of :func:`evaluate_files`, which says what is raised."""
    folders = [Path(os.path.abspath(side)) for side in (reference, estimate)]
    if folders[0].exists() and folders[1].exists() and folders[0].is_dir() != folders[1].is_dir():
        raise ValueError("got a file and a folder, expected two files or two folders")
    if pairs is not None:
        found = _listed(Path(pairs), *folders)
        ours = [
            replace(f, key=plain_text(Path(os.path.relpath(f.path, folders[0])).as_posix()))
            for f in find_clips([one for one, _ in found])
        ]
        return Pairs(plain_text(folders[1].name), ours, dict(found))
    ours, theirs = find_clips(reference), find_clips(estimate)
    if not folders[0].is_dir():
        return Pairs(plain_text(folders[1].stem), ours, {ours[0].path: theirs[0].path})
    one, other = _by_name(ours, "reference"), _by_name(theirs, "estimate")
    alone = [f"reference {f.key}" for name, f in one.items() if name not in other]
    alone += [f"estimate {f.key}" for name, f in other.items() if name not in one]
    both = [name for name in one if name in other]
    if alone and not (allow_missing and both):
        fix = "" if not both else "; --allow-missing leaves them out"
        raise ValueError(
            f"got {len(alone)} sounds without a partner of the same name ({_some(alone)}), "
            f"expected one estimate for each reference; --pairs names them where names differ{fix}"
        )
    if alone:
        warnings.warn(f"{len(alone)} without a partner left out: {_some(alone)}", stacklevel=3)
    files = [one[name] for name in both]
    return Pairs(plain_text(folders[1].name), files, {one[n].path: other[n].path for n in both})


def _some(names: list[str], shown: int = 10) -> str:
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _by_name(files: list[SoundFile], side: str) -> dict[str, SoundFile]:
    """By the path below the folder, without suffix; accents as one character, as macOS has not."""
    found: dict[str, SoundFile] = {}
    for file in files:
        name = unicodedata.normalize("NFC", str(PurePosixPath(file.key).with_suffix("")))
        if name in found:
            raise ValueError(
                f"{side}: got {found[name].key} and {file.key}, expected one sound of that name; "
                "--pairs says which belong together"
            )
        found[name] = file
    return found


def _listed(path: Path, reference: Path, estimate: Path) -> list[tuple[str, str]]:
    """The rows of a CSV file, as absolute paths."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = list(zip(table["reference"], table["estimate"], strict=True))
    except (KeyError, ValueError) as error:  # pandas' own are ValueErrors
        raise ValueError(
            f"pairs: got {path.name!r}, expected a CSV file with the columns reference and estimate"
        ) from error
    found = [(os.path.join(reference, a), os.path.join(estimate, b)) for a, b in rows]
    found = [(os.path.abspath(a), os.path.abspath(b)) for a, b in found]
    if missing := [row[i] for row, paths in zip(rows, found, strict=True) for i in (0, 1)
                   if not os.path.isfile(paths[i])]:  # fmt: skip
        raise ValueError(f"pairs: {path.name!r} names {len(missing)} files that are not there: "
                         f"{_some(missing)}")  # fmt: skip
    if len({one for one, _ in found}) < len(found) or not found:
        raise ValueError(
            f"pairs: got {path.name!r} with {len(found)} rows, expected each reference once"
        )
    return found


def find_lag(reference: np.ndarray, estimate: np.ndarray, longest: int) -> tuple[int, float]:
    """Samples by which ``[M]`` is later than ``[N]``, and the correlation there, -1..1."""
    size = 1 << (len(reference) + len(estimate) + longest).bit_length()
    product = np.fft.rfft(estimate, size) * np.conj(np.fft.rfft(reference, size))
    values = np.roll(np.fft.irfft(product, size), longest)[: 2 * longest + 1]
    best = int(np.argmax(values))
    norm = float(np.linalg.norm(reference) * np.linalg.norm(estimate))
    return best - longest, float(values[best]) / norm if norm else 0.0


def _lag_of(lag: int | str, pairs: Pairs) -> tuple[int, str]:
    """The lag, and where it is from."""
    from vaerecon.audio.clip import load_audio

    if lag == "none":
        return 0, "none"
    if lag != "measured":
        try:
            return int(lag), "stated"
        except ValueError:
            raise ValueError(
                f"lag: got {lag!r}, expected a whole number of samples, 'measured' or 'none'"
            ) from None
    every = -(-len(pairs.references) // LOOKED_AT)
    found: list[tuple[int, float]] = []
    for file in pairs.references[::every]:
        try:
            sides = [
                load_audio(p, BEGINNING).samples for p in (file.path, pairs.estimates[file.path])
            ]
        except (ValueError, OSError):
            continue  # its row of the table will say why
        one, other = (x - x.mean() for x in sides)
        found.append(find_lag(one, other, LONGEST_LAG))
    clear = [samples for samples, correlation in found if correlation >= CLEAR]
    lag = statistics.median_low(clear) if clear else 0
    agree = sum(abs(samples - lag) <= 1 for samples in clear)
    basis = f"{agree} of {len(found)} clips agree"
    if 2 * agree >= len(found) and agree:
        return lag, basis
    warnings.warn(
        f"lag: cannot be measured ({basis} on {lag} samples): taken as 0; where the sound has the "
        "phase of its reference, state it with --lag SAMPLES, else with --lag none",
        stacklevel=3,
    )
    return 0, basis


def _measure(settings: Evaluation, batch: list[SoundFile]) -> list[dict[str, Any]]:
    """Measure some pairs; one entry each, as the journal holds them."""
    with one_at_a_time(settings.threads):
        entries = [measure_file(file, partial(_find, settings)) for file in batch]
    for file, entry in zip(batch, entries, strict=True):  # no absolute path of the estimate either
        path = settings.estimates[file.path]
        own = replace(file, path=path, key=f"{settings.method}/{Path(path).name}")
        entry["error"] = entry["error"] and without_path(entry["error"], own)
        entry["notes"] = [without_path(note, own) for note in entry["notes"]]
    return entries


def _find(settings: Evaluation, file: SoundFile) -> dict[str, Any]:
    from vaerecon.audio.clip import load_audio
    from vaerecon.metrics import evaluate
    from vaerecon.pipeline.facts import ClipFacts

    clip = load_audio(file.path)
    facts, reference = ClipFacts.of(clip), clip.samples - clip.samples.mean()
    estimate = load_audio(settings.estimates[file.path]).samples
    estimate, notes = align(estimate - estimate.mean(), len(reference), settings.lag)
    scores = evaluate(
        reference, estimate, metrics=settings.metrics, exclude=settings.exclude_metrics
    )
    notes += [f"{metric}: {reason}" for metric, reason in scores.notes.items()]
    row = {"method": settings.method, "through_vae": False, **scores}
    row |= {"lag_samples": settings.lag, "gain": 1.0, "notes": notes}
    return {"duration_s": facts.duration, "sha256": facts.sha256, "rows": [row]}


def align(estimate: np.ndarray, n_samples: int, lag: int) -> tuple[np.ndarray, list[str]]:
    """``estimate`` moved by ``lag`` to ``[n_samples]``, with a note where much is cut or filled."""
    moved = np.concatenate([np.zeros(max(0, -lag), np.float32), estimate[max(0, lag) :]])
    more = (len(moved) - n_samples) / RATE
    aligned = np.zeros(n_samples, np.float32)
    aligned[: len(moved)] = moved[:n_samples]
    if abs(more) <= OTHER_LENGTH:
        return aligned, []
    kind = "longer: cut" if more > 0 else "shorter: filled with zeros"
    return aligned, [f"the estimate is {abs(more):.2f} s {kind}"]
