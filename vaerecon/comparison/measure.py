"""How a worker measures a clip: everything that is in the clip's rows of the table.

It loads the model once and keeps it. An entry of the journal is a dictionary of plain JSON values:
facts about the clip, and ``rows``, one for each method and source.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from vaerecon.audio.paths import plain_text
from vaerecon.comparison.clips import SoundFile
from vaerecon.methods import select_methods
from vaerecon.metrics.scores import metric_names
from vaerecon.utils import plugins
from vaerecon.utils.console import interrupted
from vaerecon.utils.files import check_stem, text_to_name, whole_folder

if TYPE_CHECKING:
    from vaerecon.pipeline.pipeline import ReconstructionPipeline
    from vaerecon.pipeline.result import Reconstruction

IN_MEMORY = 60  # s; for a longer clip temporary files are used, so that memory does not grow
_LOADED: dict[tuple[str | None, ...], ReconstructionPipeline] = {}  # one at most
_ONE_AT_A_TIME = Lock()  # a Dask worker may have several threads; STOI's seed and warnings may not


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the numbers of any table depend on besides the clip; a subclass measures one clip."""

    methods: tuple[str, ...]
    max_length: float | None  # s
    seed: int
    metrics: tuple[str, ...]  # all that are known where the table is made
    exclude_metrics: tuple[str, ...]
    threads: int
    name: str = ""  # of the model, in the table
    plugins: tuple[str, ...] = field(default_factory=lambda: tuple(plugins.files))  # paths

    def load(self) -> dict[str, Any]:
        """Load the model, if there is one; returns the facts about it."""
        return {}

    def measure(self, file: SoundFile) -> dict[str, Any]:
        """What the clip's entry in the journal says of it."""
        raise NotImplementedError

    def to_record(self, facts: dict[str, Any]) -> dict[str, Any]:
        """For the journal; plug-in files by what is in them."""
        hashes = {Path(path).name: plugins.files[path] for path in self.plugins}
        return asdict(self) | {"plugins": hashes} | facts["versions"]


@dataclass(frozen=True, kw_only=True)
class Settings(Task):
    """What the numbers of a comparison depend on."""

    model: str
    revision: str | None
    device: str | None
    dtype: str
    without_vae: bool
    codecs: tuple[str, ...] = ()  # "name:kbps", checked
    keep_sounds: tuple[str, str] | None = None  # folder: absolute, and as seen from the table's

    def load(self) -> dict[str, Any]:
        return asdict(_pipeline(self).describe())

    def measure(self, file: SoundFile) -> dict[str, Any]:
        from vaerecon.audio.clip import load_audio
        from vaerecon.comparison.codecs import codec_rows

        pipe = _pipeline(self)
        with _reconstruct(file, self, pipe) as result:
            order = list(result.methods).index  # the sources of a method side by side
            found = sorted(result.rows(), key=lambda row: order(row["method"]))
            rows, codecs = list(map(flat, found)), []
            if self.codecs:
                clip = load_audio(file.path, self.max_length)
                codecs = list(map(flat, codec_rows(clip, self.codecs, pipe, self.exclude_metrics)))
            if self.keep_sounds is not None:
                _keep_sounds(file, *self.keep_sounds, result, rows, codecs)
        rows += [{k: v for k, v in row.items() if k != "samples"} for row in codecs]
        clip_facts = {"duration_s": result.clip.duration, "sha256": result.clip.sha256}
        return clip_facts | {"vae_mae_nepers": result.vae_mae, "rows": rows}

    def to_record(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The model as it was found in place of what it was asked for by; no absolute path."""
        record = super().to_record(facts) | facts["model"]
        record["model"] = record.pop("name")
        record["keep_sounds"] = self.keep_sounds and self.keep_sounds[1]
        return record


def prepare(task: Task) -> dict[str, Any]:
    """Get a process ready; returns the facts about the model, and the versions of what measures.

    A ValueError if methods or metrics are unknown here.
    """
    _load_plugins(task)
    try:
        if task.methods:  # none where finished sounds are measured
            select_methods(task.methods)
        metric_names("metrics", task.metrics)
    except ValueError as error:
        raise ValueError(
            f"{error} (in a worker process, which does not know what was registered elsewhere: "
            "use workers=1, or a plug-in, which workers load)"
        ) from None
    versions = {name: version(name) for name in ("vaerecon", "torch")}
    with _ONE_AT_A_TIME:
        return {"model": task.load(), "versions": versions | plugins.packages}


def measure_batch(task: Task, batch: list[SoundFile]) -> list[dict[str, Any]]:
    """Measure some clips; one entry each, as the journal holds them.

    Torch and the libraries under numpy and scipy use ``task.threads`` threads.
    """
    import torch
    from threadpoolctl import threadpool_limits

    _load_plugins(task)
    with _ONE_AT_A_TIME:
        task.load()  # if that fails, it is no clip's fault
        before = torch.get_num_threads()
        with threadpool_limits(task.threads):
            torch.set_num_threads(task.threads)
            try:
                return [_measure_file(task, file) for file in batch]
            finally:
                torch.set_num_threads(before)


def _load_plugins(task: Task) -> None:
    """A worker process is new, and has no plug-ins yet."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the process that makes the table has shown them
        plugins.load_plugins()
        for path in task.plugins:
            plugins.load_plugin(path)


def _pipeline(settings: Settings) -> ReconstructionPipeline:
    """Loaded once for each worker; the model before it is freed first."""
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    options = {name: getattr(settings, name) for name in ("revision", "device", "dtype")}
    key = (settings.model, *options.values())
    if key not in _LOADED:
        _LOADED.clear()
        gc.collect()  # the collector looks seldom (utils.console.spare_collector)
        pipe = ReconstructionPipeline.from_pretrained(settings.model, **options)
        pipe.set_progress_bar_config(disable=True)
        _LOADED[key] = pipe
    return _LOADED[key]


def _measure_file(task: Task, file: SoundFile) -> dict[str, Any]:
    """The clip's entry: its numbers, or the reason why it failed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            entry = make_entry(file, **task.measure(file))
        except NotKept:
            raise
        except Exception as error:  # only this clip fails: the others are measured
            if interrupted():  # C code may turn Ctrl-C into another error
                raise KeyboardInterrupt from error
            kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
            entry = make_entry(file, error=f"{plugins.place_of(error) or kind}{error}")
    notes = dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning)
    return entry | {"notes": [_without_paths(note, file) for note in notes]}


def make_entry(file: SoundFile, *, error: str | None = None, **found: Any) -> dict[str, Any]:
    """A line of the journal."""
    identity = {"file": file.key, "size": file.size, "mtime_ns": file.mtime_ns}
    identity["clip"] = PurePosixPath(file.key).stem
    error = None if error is None else _without_paths(error, file) or "no reason given"
    return identity | {"error": error, "notes": [], "rows": []} | found


def _without_paths(text: str, file: SoundFile) -> str:
    """A message in one line that calls the clip as the table does."""
    for one in filter(None, (file, file.estimate)):
        text = text.replace(repr(one.path), repr(one.key)).replace(one.path, one.key)
    return plain_text(" ".join(text.split()))


@contextmanager
def _reconstruct(
    file: SoundFile, settings: Settings, pipe: ReconstructionPipeline
) -> Iterator[Reconstruction]:
    """The result of a clip; the sounds of a long one are in files that go at the end."""
    from vaerecon.audio.clip import load_audio

    names = ("methods", "without_vae", "seed", "exclude_metrics")
    options: dict[str, Any] = {name: getattr(settings, name) for name in names}
    if file.seconds <= IN_MEMORY:
        yield pipe(load_audio(file.path, settings.max_length), **options)
        return
    options["keep_without_vae"] = settings.keep_sounds is not None
    with tempfile.TemporaryDirectory() as folder:
        yield pipe.reconstruct_file(file.path, folder, max_length=settings.max_length, **options)


class NotKept(OSError):
    """Sounds cannot be written: it ends the run, since it is not the clip's fault."""


def _keep_sounds(
    file: SoundFile, folder: str, seen_from_table: str, result: Reconstruction,
    rows: list[dict[str, Any]], codecs: list[dict[str, Any]],
) -> None:  # fmt: skip
    """Write a clip's sounds, all or none, and put the path of each into its row."""
    from vaerecon.audio.clip import write_wav
    from vaerecon.pipeline.output import earlier_wavs, wav_name

    stem = text_to_name(check_stem(result.clip.name))
    result = replace(result, keep_without_vae=True)
    for row in rows:
        row["sound"] = result.sound_file(stem, row["method"], row["through_vae"])
    for row in codecs:
        row["sound"] = wav_name(stem, row["method"].replace(":", "_"), row["through_vae"])
    target = text_to_name(os.path.join(folder, file.place))
    try:
        with whole_folder(target, partial(earlier_wavs, stem)) as scratch:
            if result.tracks is not None:
                result.write_sounds(scratch, stem)
            for path in result.files:
                if path.suffix == ".wav":
                    shutil.move(path, scratch / path.name)
            for row in codecs:
                write_wav(scratch / row["sound"], row["samples"], result.clip.sample_rate)
    except OSError as error:
        raise NotKept(f"keep_sounds: {error}") from None
    for row in (*rows, *codecs):
        if row["sound"]:
            row["sound"] = plain_text(f"{seen_from_table}/{file.place}/{row['sound']}")


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row without nesting; ``metrics`` and ``notes`` are values and reasons by metric."""
    notes = [f"{metric}: {reason}" for metric, reason in row["notes"].items()]
    return {**row.pop("metrics"), **row, "notes": notes}
