"""Clips x methods, with and without the VAE, to one table; on one core, on all, or on a cluster.

>>> table = compare("clips/", methods="all", output="table.parquet")
>>> table.groupby(["method", "through_vae"])["log_mel_mae"].mean()

The same clip gives the same numbers, bit for bit, on one worker or many and in any order.
For that every worker computes with the same number of threads (sums are rounded differently when
they are split differently), one by default: many clips keep all cores busy by themselves.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from vaerecon.audio.conversion import check_max_length
from vaerecon.comparison.clips import (
    SoundFile,
    Source,
    find_clips,
    make_batches,
    with_domains,
    with_places,
)  # fmt: skip
from vaerecon.comparison.codecs import parse_codecs
from vaerecon.comparison.journal import Journal, check_free, is_finished, open_journal
from vaerecon.comparison.measure import Settings, Task, make_entry, measure_batch, prepare
from vaerecon.comparison.sources import check_sounds, dataset_clips, is_dataset, name_models
from vaerecon.comparison.table import check_same, check_suffix, make_table, read_table, write_table
from vaerecon.comparison.workers import Processes, Team, run_batches, why_no_processes
from vaerecon.methods import select_methods
from vaerecon.metrics.scores import METRICS, metric_names
from vaerecon.utils.files import text_to_name
from vaerecon.utils.numbers import check_whole

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def compare(
    clips: Source | Iterable[Source] | Any, model: Source | Iterable[Source] = "tiny",
    methods: str | Iterable[str] = "all", *, output: Source | None = None,
    revision: str | None = None, device: str | None = None, dtype: str = "auto",
    max_length: float | None = None, without_vae: bool = True, seed: int = 0,
    exclude_metrics: Iterable[str] = (), codecs: str | Iterable[str] = (),
    keep_sounds: Source | None = None, domains: Source | None = None, column: str = "audio",
    max_clips: int | None = None, workers: int | None = None, threads: int = 1,
    scheduler: str | None = None, resume: bool = False, overwrite: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Measure every method on every clip; a run that was killed can be resumed.

    Parameters
    ----------
    clips
        Files and folders (all sounds in them and below); or a split of Hugging Face ``datasets``,
        whose ``column`` holds the sounds.
    model, revision, device, dtype
        As :meth:`vaerecon.ReconstructionPipeline.from_pretrained` takes them. Several models are
        in memory one after the other; each gets all rows, also those without the VAE.
    methods
        Names, ``"a,b"`` or ``"all"``. Silence is always measured too.
    output
        ``.parquet`` or ``.csv`` file to write at the end. Until then
        ``<output>.partial.sqlite`` beside it holds the finished clips.
    max_length
        Seconds read of each clip.
    without_vae
        Also synthesize from the original mel: twice the rows, and the time.
    seed
        Of every random draw.
    exclude_metrics
        Names of metrics to leave out, for example ``["visqol"]``, the slowest.
    codecs
        Finished codecs at a rate in kbit/s, one row each: ``"latent:4.8,opus:8,mp3:16,vorbis"``;
        see :mod:`vaerecon.comparison.codecs`.
    keep_sounds
        Folder for the sounds: the original and every method's, in a folder for each clip, below
        one for each model if there are several. Sounds of an earlier run are replaced.
    domains
        CSV file with the columns ``file`` (as in the table) and ``domain``; by default a clip's
        domain is the name of its folder.
    max_clips
        Only the first so many clips.
    workers
        Processes that share the work; 1 (or 0) works in this one. By default one a core, 1 on a
        GPU; always 1 where no process can be started (daemons, as Celery's; a script from the
        standard input). In a script, the call must stand under ``if __name__ == "__main__":``.
    threads
        Of each worker. More than one helps where clips are few and long, and rounds differently.
    scheduler
        Address of a Dask scheduler, ``tcp://host:port``. Its workers need the same files under the
        same paths.
    resume
        Go on with the unfinished run for ``output``; finished clips are measured again only if the
        file has changed. A complete ``output`` is read, if it has these clips and settings; a CSV
        file tells of these only methods, models and seed.
    overwrite
        Replace an ``output`` that exists, and forget an unfinished run for it.

    Returns
    -------
    pandas.DataFrame
        One row a model, clip, method and ``through_vae``, in that order; one row with an ``error``
        for a clip that failed. Columns: ``file`` (path below the folder that holds all clips),
        ``clip``, ``domain``, ``model``, ``method``, ``through_vae``, ``sound`` (its file, as seen
        from the table's folder), the metrics (NaN where there is no value),
        ``seconds``, ``real_time_factor``, ``lag_samples``, ``gain``, ``kbps`` (of codecs),
        ``vae_mae_nepers``, ``duration_s``, ``sha256`` (of the samples, as in analysis.json),
        ``notes`` (why a number is missing), ``error``, the facts about the model, and ``seed``.

    Raises
    ------
    ValueError
        For clips, a model, methods, metrics or an output that cannot be, or a resumed run that was
        begun with other settings.
    OSError
        If the table cannot be written, or all workers are lost; what was finished is kept.
    """
    models = name_models([model] if isinstance(model, str | os.PathLike) else model)
    if not is_dataset(clips):
        clips = [clips] if isinstance(clips, str | os.PathLike) else list(clips)
    settings = Settings(
        model="", revision=revision, device=device, dtype=dtype, max_length=max_length, seed=seed,
        methods=tuple(select_methods(methods)), without_vae=without_vae, metrics=tuple(METRICS),
        exclude_metrics=tuple(metric_names("exclude_metrics", exclude_metrics)), threads=threads,
        codecs=parse_codecs(codecs),
    )  # fmt: skip
    tasks = []
    for path, name in models.items():
        below = name if len(models) > 1 else "."
        sounds = keep_sounds and check_sounds(keep_sounds, clips, output, below)
        tasks.append(replace(settings, model=path, name=name, keep_sounds=sounds or None))

    def find() -> list[SoundFile]:
        if max_clips is not None:
            check_whole(max_clips, "max_clips", 1)
        if is_dataset(clips):
            files = dataset_clips(clips, column, Path(spool), max_length, max_clips)
        else:
            files = find_clips(clips, max_length)[:max_clips]
        return with_places(files if domains is None else with_domains(files, domains))

    with tempfile.TemporaryDirectory() as spool:
        return measure_clips(find, tasks, output, workers, scheduler, resume, overwrite)


def measure_clips(
    find: Callable[[], list[SoundFile]], tasks: Sequence[Task], output: Source | None,
    workers: int | None, scheduler: str | None, resume: bool, overwrite: bool,
    tabulate: Callable[..., pd.DataFrame] = make_table,
) -> pd.DataFrame:  # fmt: skip
    """Measure every clip that ``find`` gives, one task after the other.

    The tasks differ in their model only. ``tabulate`` makes a task's table, with the arguments of
    :func:`make_table`. Other arguments and errors are those of :func:`compare`.
    """
    import pandas as pd

    settings = tasks[0]
    check_max_length(settings.max_length)
    path = _checked_output(output, resume, overwrite)
    for name, value, least in (("workers", workers, 0), ("threads", settings.threads, 1)):
        if value is not None:
            check_whole(value, name, least)
    check_whole(settings.seed, "seed")
    complete = path is not None and resume and not overwrite and is_finished(path)
    finished = read_table(path) if path and complete else None
    files = find()
    with _team(workers, settings.threads, scheduler, len(files)) as team:
        # every model is loaded once before anything is computed; the first comes last, and stays
        facts = [team.start(partial(prepare, task)) for task in reversed(tasks)][::-1]
        record = _merged([task.to_record(fact) for task, fact in zip(tasks, facts, strict=True)])
        if path is not None and finished is not None:
            return check_same(finished, path.name, [file.key for file in files], record)
        on_gpu = facts[0]["model"].get("device", "cpu") != "cpu"
        if workers is None and scheduler is None and on_gpu:
            team.width = 1  # several copies of the model on one GPU only on request
        with open_journal(path, record, resume) as journal:
            tables = []
            for task, fact in zip(tasks, facts, strict=True):
                _measure_all(files, team, journal, task)
                entries = (entry for entry in journal.entries() if entry["model"] == task.name)
                tables.append(tabulate(files, task, fact, entries))
            table = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
            table.attrs = tables[0].attrs | record
            if path is not None:
                write_table(table, path)
                journal.finished = True
    return table


def _merged(records: list[dict[str, Any]]) -> dict[str, Any]:
    """One record for all; what differs as a list."""
    values = {key: [record[key] for record in records] for key in records[0]}
    return {key: v[0] if all(one == v[0] for one in v) else v for key, v in values.items()}


def _checked_output(output: Source | None, resume: bool, overwrite: bool) -> Path | None:
    if output is None:
        if resume:
            raise ValueError("resume: got no output; name the one of the run to go on with")
        return None
    path = Path(text_to_name(output))
    check_suffix(path)
    check_free(path, resume, overwrite)
    return path


def _team(workers: int | None, threads: int, scheduler: str | None, n_clips: int) -> Team:
    if scheduler is not None:
        from vaerecon.comparison.cluster import Cluster

        if workers is None:
            return Cluster(scheduler)
        raise ValueError(f"workers: got {workers} with a scheduler, which has workers of its own; "
                         "leave out one of the two")  # fmt: skip
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = max(1, (cores or 1) // threads)
    workers = min(workers, n_clips)
    if workers > 1 and (reason := why_no_processes()):
        logger.warning("no worker processes, all is done in this one: %s", reason)
        workers = 1
    return Processes(workers, threads) if workers > 1 else Team()


def _measure_all(files: list[SoundFile], team: Team, journal: Journal, task: Task) -> None:
    """Measure the clips that the journal lacks for this task, and add them to it."""
    now = {file.key: (file.size, file.mtime_ns) for file in files}
    failed = {  # of the clips that are finished: whether they failed
        entry["file"]: entry["error"] is not None
        for entry in journal.entries()
        if now.get(entry["file"]) == (entry["size"], entry["mtime_ns"])
        and entry["model"] == task.name
    }
    todo = [file for file in files if file.key not in failed]
    done = sum(file.seconds for file in files if file.key in failed)
    batches = make_batches(todo, team.width)
    measure, ready = partial(measure_batch, task), partial(prepare, task)
    with tqdm(
        total=round(done + sum(file.seconds for file in todo), 1),
        initial=round(done, 1),
        desc=task.name or None,
        disable=None,  # shown in a notebook and on a terminal only
        bar_format="{l_bar}{bar}| {n:.0f}/{total:.0f} s of sound [{elapsed}<{remaining}{postfix}]",
    ) as bar:
        for batch, entries in run_batches(team, measure, batches, ready):
            if entries is None:
                reason = "ended its worker process each time it was tried"
                entries = [make_entry(file, error=reason) for file in batch]
            journal.add(entry | {"model": task.name} for entry in entries)
            failed |= {entry["file"]: entry["error"] is not None for entry in entries}
            bar.set_postfix_str(
                f"{len(failed)}/{len(files)} clips, {sum(failed.values())} failed", refresh=False
            )
            bar.update(sum(file.seconds for file in batch))
