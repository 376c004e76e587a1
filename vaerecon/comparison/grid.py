"""Mel settings x methods x clips, without a VAE, to one table: which mel keeps most of a sound?

>>> table = sweep("clips/", {"n_fft": [512, 768, 1024], "n_mels": [64, 80]})
>>> pareto_front(table)[["setting", "values_per_second", "pesq_wb"]]

Workers and journal are those of :func:`vaerecon.comparison.run.compare`. AudioLDM2's setting is
always measured too, and its rows are those of ``compare`` with ``through_vae`` False.

Notebook: ``09_mel_settings``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from vaerecon.comparison.clips import SoundFile, Source, find_clips
from vaerecon.comparison.measure import Task, flat
from vaerecon.comparison.run import measure_clips
from vaerecon.comparison.table import make_table
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.methods import get_method, select_methods
from vaerecon.metrics.recommendation import unbeaten
from vaerecon.metrics.scores import METRICS, metric_names
from vaerecon.utils.numbers import is_number

if TYPE_CHECKING:
    import pandas as pd

# name -> type of column; the window follows n_fft, and every sound is read at 16 kHz
SETTINGS = {f.name: "Int64" if type(f.default) is int else "float64" for f in fields(MelConfig)
            if f.name not in ("sample_rate", "win_length")}  # fmt: skip
COLUMNS = {"setting": "string", **SETTINGS, "values_per_second": "float64",
           "own_log_mel_mae": "float64"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Grid(Task):
    """What the numbers of a sweep depend on besides the clip."""

    mels: tuple[MelConfig, ...]

    def measure(self, file: SoundFile) -> dict[str, Any]:
        import torch

        from vaerecon.audio.buffers import MemoryTrack
        from vaerecon.audio.clip import load_audio
        from vaerecon.audio.samples import as_samples
        from vaerecon.pipeline.facts import ClipFacts

        clip = load_audio(file.path, self.max_length)
        facts, samples = ClipFacts.of(clip), MemoryTrack(as_samples(clip.samples))
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", "Empty filters")  # librosa's; the rows have a note
            rows = [row for mel in self.mels for row in _rows(self, mel, samples, facts.duration)]
        return {"duration_s": facts.duration, "sha256": facts.sha256, "rows": rows}


def sweep(
    clips: Source | Iterable[Source], vary: Mapping[str, Iterable[float]],
    methods: str | Iterable[str] = "griffinlim", *, joint: bool = False,
    output: Source | None = None, max_length: float | None = None, seed: int = 0,
    exclude_metrics: Iterable[str] = ("visqol",), workers: int | None = None, threads: int = 1,
    scheduler: str | None = None, resume: bool = False, overwrite: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Measure what mels of several settings keep of every clip.

    Parameters
    ----------
    vary
        Values by the name of the setting: ``n_fft`` (the window follows), ``hop_length``,
        ``n_mels``, ``fmin``, ``fmax``, ``floor``; see :class:`vaerecon.MelConfig`.
    methods
        Of those that take any mel: ``griffinlim``, ``admm``, ``librosa`` and ``oracle_phase``.
    joint
        All combinations; otherwise only one setting at a time differs from AudioLDM2's.
    clips, output, max_length, seed, exclude_metrics, workers, threads, scheduler, resume, overwrite
        As :func:`vaerecon.compare` takes them; the work is done on the CPU.

    Returns
    -------
    pandas.DataFrame
        One row a clip, setting and method. Columns are those of ``compare`` that need no VAE, and
        ``setting`` (in words), each setting, ``values_per_second`` (of the mel), and
        ``own_log_mel_mae`` in nepers, by the mel of the setting; ``log_mel_mae`` is by AudioLDM2's.

    Raises
    ------
    ValueError, OSError
        Those of ``compare``; also for an unknown setting, a value that it cannot have, or a method
        that only takes AudioLDM2's mel.
    """
    names = select_methods(methods)
    if wrong := [name for name in names if not get_method(name).any_mel]:
        raise ValueError(f"methods: got {', '.join(wrong)}, trained on AudioLDM2's mel alone; "
                         "expected some that take any mel, such as griffinlim")  # fmt: skip
    grid = Grid(
        mels=mel_grid(vary, joint), methods=tuple(names), max_length=max_length, seed=seed,
        metrics=tuple(METRICS), threads=threads,
        exclude_metrics=tuple(metric_names("exclude_metrics", exclude_metrics)),
    )  # fmt: skip
    table = measure_clips(
        partial(find_clips, clips, max_length), [grid], output, workers, scheduler, resume,
        overwrite, partial(make_table, more=COLUMNS),
    )  # fmt: skip
    return table.drop(columns=["model", "sound", "kbps", "vae_mae_nepers"])


def mel_grid(vary: Mapping[str, Iterable[float]], joint: bool = False) -> tuple[MelConfig, ...]:
    """AudioLDM2's setting, then those of :func:`sweep`, each once."""
    values = [[(name, _checked(name, value)) for value in given] for name, given in vary.items()]
    choices: Iterable[Any] = product(*values) if joint else ([pair] for pair in chain(*values))
    mels = [AUDIOLDM_MEL]
    for chosen in map(dict, choices):
        window = chosen.get("n_fft", AUDIOLDM_MEL.n_fft)
        mels.append(replace(AUDIOLDM_MEL, win_length=window, **chosen))
    return tuple(dict.fromkeys(mels))


def _checked(name: str, value: float) -> float:
    if name not in SETTINGS:
        raise ValueError(f"vary: got {name!r}, expected one of {', '.join(SETTINGS)}")
    whole = SETTINGS[name] == "Int64"
    if not is_number(value) or (whole and value != int(value)):
        kind = "whole numbers" if whole else "numbers"
        raise ValueError(f"vary: got {name} = {value!r}, expected {kind}")
    return int(value) if whole else float(value)


def setting_text(config: MelConfig) -> str:
    """What differs from AudioLDM2's setting: ``n_fft=768 n_mels=80``."""
    other = [name for name in SETTINGS if getattr(config, name) != getattr(AUDIOLDM_MEL, name)]
    return " ".join(f"{name}={getattr(config, name):g}" for name in other) or "AudioLDM2"


def _rows(grid: Grid, config: MelConfig, samples: Any, duration: float) -> Iterator[dict[str, Any]]:
    """One for each method."""
    from vaerecon.mel.filters import mel_filters
    from vaerecon.metrics.signals import UndefinedScore
    from vaerecon.metrics.spectral import log_mel_mae
    from vaerecon.pipeline import stages
    from vaerecon.pipeline.synthesis import without_networks

    request = stages.Request(grid.methods, seed=grid.seed, exclude_metrics=grid.exclude_metrics)
    reference, results = stages.resynthesize(without_networks(config), samples, request)
    empty = int((mel_filters(config).sum(dim=0) == 0).sum())
    setting = {name: getattr(config, name) for name in SETTINGS} | {
        "setting": setting_text(config),
        "values_per_second": config.n_mels * config.frames_per_second,
    }
    for name, found in results.items():
        try:
            own = log_mel_mae(reference, found.samples, config)
        except UndefinedScore:
            own = None  # as log_mel_mae, whose note says why
        row = flat({"method": name, "through_vae": False, **found.record(duration)})
        if empty:
            row["notes"].append(f"{empty} of {config.n_mels} mel filters see no frequency")
        yield row | setting | {"own_log_mel_mae": own}


def mean_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the clips of a :func:`sweep`: a row for each setting and method.

    Each metric is the mean over the clips that have a value; ``clips`` is the number of clips.
    """
    measured = table.dropna(subset="method")
    numbers = [*METRICS, "own_log_mel_mae", "seconds", "real_time_factor"]
    by = ["setting", *SETTINGS, "values_per_second", "method"]
    groups = measured.groupby(by, sort=False)
    return groups[numbers].mean().join(groups.size().rename("clips")).reset_index()


def pareto_front(table: pd.DataFrame, metric: str = "pesq_wb") -> pd.DataFrame:
    """The Pareto front: rows that no other row beats in both ``values_per_second`` and ``metric``.

    ``table`` is that of :func:`sweep` or of :func:`mean_settings`. Returns rows of
    :func:`mean_settings`, the cheapest first.
    """
    (metric,) = metric_names("metric", metric)
    means = mean_settings(table) if "clip" in table else table
    front = unbeaten(means.dropna(subset=[metric]), metric, "values_per_second")
    return front.reset_index(drop=True)
