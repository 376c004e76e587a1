"""Results that survive a kill: a small SQLite database to which each finished clip is added.

It has one table: first a row with the settings of the run, then a row for each finished clip, as
JSON. Each :meth:`Journal.add` is one transaction, which is on the disk when it returns. SQLite
undoes a transaction that a kill or a full disk interrupts, and locks the database while a run
writes it, so that two runs cannot mix their results.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

FORMAT = 3  # of the rows; raised when the meaning of one changes


def journal_path(output: Path) -> Path:
    """The journal of the run for ``output``."""
    return output.with_name(output.name + ".partial.sqlite")


def is_finished(output: Path) -> bool:
    """Whether the table is complete: it is there, and no journal for it."""
    return output.exists() and not journal_path(output).exists()


def check_free(output: Path, resume: bool, overwrite: bool) -> None:
    """A ValueError, before anything is computed, if results or a journal would be replaced."""
    path = journal_path(output)
    if resume or overwrite:
        return
    if path.exists():
        raise ValueError(
            f"output: a run for {output.name!r} was not finished, and its results are in "
            f"{path.name!r}; use --resume to go on with it or --overwrite to start again"
        )
    if output.exists():
        raise ValueError(f"output: got {output.name!r}, which exists and is complete; name another "
                         "file, or use --overwrite to replace it")  # fmt: skip


def changed(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The settings that differ, in words; empty if none does."""
    names = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    return "; ".join(
        k if k == "clips" else f"{k} was {found.get(k)!r}, now {wanted.get(k)!r}" for k in names
    )


class Journal:
    """The results of a run so far. Made by :func:`open_journal`."""

    def __init__(self, database: sqlite3.Connection, name: str):
        self._database, self._name = database, name
        self.finished = False  # True: what it holds has been written elsewhere

    def entries(self) -> Iterator[dict[str, Any]]:
        """What was added, in that order, read from the file one by one."""
        rows = self._database.execute("SELECT text FROM entries ORDER BY rowid LIMIT -1 OFFSET 1")
        return (json.loads(text) for (text,) in rows)

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Add entries; they are on the disk when this returns."""
        rows = [(json.dumps(entry, allow_nan=False),) for entry in entries]
        with _errors_explained(self._name), self._database:
            self._database.executemany("INSERT INTO entries VALUES (?)", rows)


@contextmanager
def open_journal(
    output: Path | None, settings: dict[str, Any], resume: bool = False
) -> Iterator[Journal]:
    """Open the journal for ``output`` (None: a temporary file); one empty or finished is deleted.

    ``settings`` are what the results depend on, as plain JSON values. ``resume`` keeps what is
    there; otherwise it is cleared. A ValueError if another run writes it, it was begun with other
    settings or is damaged, an OSError if it cannot be written.
    """
    path = None if output is None else journal_path(output)
    name = path.name if path else "a temporary file"
    with _errors_explained(name):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path or "", timeout=0)  # "": a temporary file of SQLite's
    unused = False
    try:
        with closing(database):
            with _errors_explained(name):
                _begin(database, {"format": FORMAT, **settings}, resume, name)
            journal = Journal(database, name)
            try:
                yield journal
            finally:
                unused = journal.finished or next(journal.entries(), None) is None
    finally:
        if path is not None and unused:
            path.unlink(missing_ok=True)


@contextmanager
def _errors_explained(name: str) -> Iterator[None]:
    """Errors of SQLite and of the file system, in one line that says what to do."""
    try:
        yield
    except (OSError, sqlite3.DatabaseError) as error:
        if "locked" in str(error):
            raise ValueError(
                f"output: another run is writing {name!r}; wait for its end, or name another file"
            ) from None
        if isinstance(error, OSError | sqlite3.OperationalError):
            reason = getattr(error, "strerror", None) or error
            raise OSError(
                f"output: cannot write {name!r} ({reason}); choose another file"
            ) from None
        raise ValueError(
            f"resume: {name!r} is damaged ({error}); delete it and start again"
        ) from None


def _begin(database: sqlite3.Connection, settings: dict[str, Any], resume: bool, name: str) -> None:
    """Lock the database until it is closed; write the settings, or compare them with its own."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    with database:
        database.execute("BEGIN EXCLUSIVE")
        database.execute("CREATE TABLE IF NOT EXISTS entries (text TEXT NOT NULL)")
        if not resume:
            database.execute("DELETE FROM entries")
        row = database.execute("SELECT text FROM entries ORDER BY rowid LIMIT 1").fetchone()
        if row is None:
            text = json.dumps(settings, allow_nan=False)
            database.execute("INSERT INTO entries VALUES (?)", (text,))
            return
    found, wanted = json.loads(row[0]), json.loads(json.dumps(settings))
    if changes := changed(found, wanted):
        raise ValueError(f"resume: {name!r} was begun with other settings ({changes}); use the "
                         "same, or --overwrite to start again")  # fmt: skip
