"""Finished sounds, of any codec, against their references: a table like that of ``compare``.

Both sides are read like any clip (mono, 16 kHz), and their mean is removed; nothing is scaled. All
estimates are shifted by one lag, and cut or filled with zeros to the length of their reference.
"""

import math
import os
import statistics
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vaerecon.audio.clip import Clip, load_audio
from vaerecon.audio.paths import plain_text
from vaerecon.comparison.clips import SoundFile, Source, find_clips, read_columns
from vaerecon.comparison.codecs import find_lag
from vaerecon.comparison.measure import Task, flat
from vaerecon.comparison.run import measure_clips
from vaerecon.comparison.table import make_table
from vaerecon.mel.front_end import log_mel
from vaerecon.metrics.scores import METRICS, ON_REQUEST, evaluate, metric_names
from vaerecon.metrics.sets import frechet_distance, kernel_distance
from vaerecon.metrics.signals import UndefinedScore
from vaerecon.models.clap import load_clap
from vaerecon.pipeline.facts import ClipFacts

Files = list[SoundFile]
Rows = Iterable[tuple[SoundFile, SoundFile]]

LAG_CLIPS = 32  # clips, spread over the whole set, by which the lag is measured
BEGINNING = 20.0  # s of each
CLEAR = 0.5  # correlation at the peak below which a clip is not used for the lag
OTHER_LENGTH = 1600  # samples; a larger difference of the lengths is noted


@dataclass(frozen=True, kw_only=True)
class Evaluation(Task):
    """What the numbers depend on besides the sounds."""

    method: str  # name of the folder of estimates, or of the one file without its suffix
    lag: int  # samples by which the estimates are late
    lag_basis: str  # where that is from

    def measure(self, file: SoundFile) -> dict[str, Any]:
        clip, other = map(load_audio, _paths(file))
        facts, reference = ClipFacts.of(clip), _centred(clip)
        estimate, notes = align(_centred(other), len(reference), self.lag)
        scores = evaluate(reference, estimate, metrics=self.metrics, exclude=self.exclude_metrics)
        row = flat({"method": self.method, "through_vae": False, "lag_samples": self.lag,
                    "gain": 1.0, "metrics": scores, "notes": scores.notes})  # fmt: skip
        row["notes"] = notes + row["notes"]
        return {"duration_s": facts.duration, "sha256": facts.sha256, "rows": [row]}


def evaluate_files(
    reference: Source, estimate: Source, *, output: Source | None = None,
    pairs: Source | None = None, lag: int | str = "measured", metrics: Iterable[str] | None = None,
    sets: str | Iterable[str] = (), allow_missing: bool = False, workers: int | None = None,
    threads: int = 1, scheduler: str | None = None, resume: bool = False, overwrite: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Measure finished sounds, a row a pair; ``metrics`` as ``evaluate``, the rest as ``compare``.

    Parameters
    ----------
    reference, estimate
        Two files, or two folders with the same names in them, whatever the suffix.
    pairs
        CSV file with the columns ``reference`` and ``estimate``: paths below the two folders.
    lag
        Samples at 16 kHz by which the estimates are late (below 0: early), ``"none"``, or
        ``"measured"``: the median of the peaks of the cross-correlations of up to 32 clips; 0,
        with a warning, where fewer than half agree within a sample.
    sets
        ``"latent"`` (latent means of ``tiny``) or ``"clap:owner/name"``: distances of the two sets
        by these embeddings too, in ``table.attrs["sets"]``.
    allow_missing
        Leave out sounds without a partner, with a warning; by default they are a ValueError.
    """
    wanted = metric_names("metrics", METRICS if metrics is None else metrics)
    found = find_pairs(reference, estimate, pairs, allow_missing)
    embedders = {name: _embedder(name) for name in ([sets] if isinstance(sets, str) else sets)}
    late, basis = _lag_of(lag, found)
    path = Path(os.path.abspath(estimate))
    settings = Evaluation(
        method=plain_text(path.name if path.is_dir() else path.stem), lag=late, lag_basis=basis,
        methods=(), max_length=None, seed=0, threads=threads,
        metrics=tuple(metric_names("metrics", [*METRICS, *wanted])),
        exclude_metrics=tuple(name for name in METRICS if name not in wanted),
    )  # fmt: skip

    def tabulate(files: Any, task: Any, facts: Any, entries: Any) -> pd.DataFrame:
        more = {name: "float64" for name in wanted if name in ON_REQUEST}
        table = make_table(files, task, facts, entries, more)
        good = [pair for pair, bad in zip(files, table["error"].notna(), strict=True) if not bad]
        table.attrs["sets"] = [_set_distances(*one, good) for one in embedders.items() if good]
        return table

    run = (output, workers, scheduler, resume, overwrite)
    return measure_clips(lambda: found, [settings], *run, tabulate)


def find_pairs(
    reference: Source, estimate: Source, pairs: Source | None, allow_missing: bool
) -> Files:
    """Each reference with its estimate, by the arguments of :func:`evaluate_files`.

    Size and time are sums of both, so that a change of either is noticed.
    """
    ours, theirs = find_clips(reference), find_clips(estimate)
    if (folder := os.path.isdir(reference)) != os.path.isdir(estimate):
        raise ValueError("got a file and a folder, expected two files or two folders")
    if pairs is not None:
        rows = _read_pairs(Path(pairs), ours, theirs)
    else:
        rows = _of_one_name(ours, theirs, allow_missing) if folder else [(ours[0], theirs[0])]
    return [replace(a, size=a.size + b.size, mtime_ns=a.mtime_ns + b.mtime_ns, estimate=b)
            for a, b in rows]  # fmt: skip


def _of_one_name(references: Files, estimates: Files, allow_missing: bool) -> Rows:
    ours, theirs = _by_name(references), _by_name(estimates)
    alone = [f"reference {file.key}" for name, file in ours.items() if name not in theirs]
    alone += [f"estimate {file.key}" for name, file in theirs.items() if name not in ours]
    rows = [(file, theirs[name]) for name, file in ours.items() if name in theirs]
    if alone:
        names = ", ".join(alone[:10]) + (", ..." if len(alone) > 10 else "")
        message = f"got {len(alone)} sounds without a partner of the same name ({names})"
        if not (allow_missing and rows):
            raise ValueError(f"{message}, expected one; see --pairs, --allow-missing")
        warnings.warn(f"{message}: left out", stacklevel=4)
    return rows


def _by_name(files: Files) -> dict[str, SoundFile]:
    """By the path below the folder, without suffix, in Unicode's composed form (macOS differs)."""
    found: dict[str, SoundFile] = {}
    for file in files:
        name = unicodedata.normalize("NFC", os.path.splitext(file.key)[0])
        if found.setdefault(name, file) is not file:
            raise ValueError(f"got {found[name].key} and {file.key}, expected one sound of that "
                             "name; --pairs says which belong together")  # fmt: skip
    return found


def _read_pairs(path: Path, references: Files, estimates: Files) -> Rows:
    ours, theirs = ({file.key: file for file in files} for files in (references, estimates))
    table = read_columns("pairs", path, ["reference", "estimate"])
    try:
        rows = {ours[a]: theirs[b] for a, b in table.to_numpy()}
        if len(rows) < max(1, len(table)):
            raise ValueError(f"{len(table)} rows, {len(rows)} references")
    except (KeyError, ValueError) as error:  # KeyError: no such sound
        raise ValueError(
            f"pairs: got {path.name!r} ({error}), expected in its columns reference and estimate "
            "paths of sounds below the two folders, each reference once"
        ) from error
    return rows.items()


def _lag_of(lag: int | str, pairs: Files) -> tuple[int, str]:
    """The lag, and where it is from."""
    if lag != "measured":
        try:
            return (0, "none") if lag == "none" else (int(str(lag)), "stated")
        except ValueError:
            raise ValueError(f"lag: got {lag!r}, expected samples, measured or none") from None
    peaks = []
    for pair in pairs[:: math.ceil(len(pairs) / LAG_CLIPS)]:
        with suppress(ValueError, OSError):  # its row of the table will say why
            one, other = (_centred(load_audio(path, BEGINNING)) for path in _paths(pair))
            peaks.append(find_lag(one, other))
    if not peaks:
        basis = "no pair could be read"
        warnings.warn(f"lag: cannot be measured: {basis}; taken as 0", stacklevel=3)
        return 0, basis
    clear = [samples for samples, correlation in peaks if correlation >= CLEAR]
    median = statistics.median_low(clear or [0])
    agree = sum(abs(samples - median) <= 1 for samples in clear)
    basis = f"{agree} of {len(peaks)} clips agree"
    if agree < max(1, len(peaks) / 2):
        text = f"lag: cannot be measured ({basis} on {median}), taken as 0; state it, or 'none'"
        warnings.warn(text, stacklevel=3)
        median = 0
    return median, basis


def _paths(pair: Any) -> tuple[str, str]:
    return pair.path, pair.estimate.path


def _centred(clip: Clip) -> np.ndarray:
    return clip.samples - clip.samples.mean()


def align(estimate: np.ndarray, n_samples: int, lag: int) -> tuple[np.ndarray, list[str]]:
    """``estimate`` moved by ``lag`` to ``[n_samples]``, with a note where much is cut or filled."""
    moved = np.pad(estimate, (max(0, -lag), 0))[max(0, lag) :]
    more = len(moved) - n_samples
    kind = "longer: cut" if more > 0 else "shorter: filled with zeros"
    note = f"the estimate is {abs(more) / 16000:.2f} s {kind}"
    return np.pad(moved, (0, max(0, -more)))[:n_samples], [note] if abs(more) > OTHER_LENGTH else []


def _embedder(name: str) -> Callable[[str], np.ndarray]:
    """A function of a file that gives embeddings ``[n, d]``: of each 40 ms (VAE) or 10 s (CLAP)."""
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    if name.startswith("clap:") and name != "clap:":
        return load_clap(name.removeprefix("clap:"))
    if name != "latent":
        raise ValueError(f"sets: got {name!r}, expected 'latent' or 'clap:owner/name'")
    pipe = ReconstructionPipeline.from_pretrained("tiny")

    def embed(file: str) -> np.ndarray:  # [8, T/4, 16] -> [T/4, 8, 16] -> [T/4, 128]
        latent = pipe.encode(log_mel(load_audio(file).samples)).cpu()
        return np.asarray(latent.permute(1, 0, 2).flatten(1))

    return embed


def _set_distances(name: str, embed: Callable[[str], np.ndarray], pairs: Files) -> dict[str, Any]:
    """Of all references from all estimates; None, with its reason, where there is no value."""
    sides = zip(*map(_paths, pairs), strict=True)
    sets = [np.concatenate([embed(path) for path in side]) for side in sides]
    found: dict[str, Any] = {"embedding": name, "embeddings": [len(x) for x in sets], "notes": {}}
    for key, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        try:
            found[key] = distance(*sets)
        except UndefinedScore as reason:
            found[key], found["notes"][key] = None, str(reason)
    return found
