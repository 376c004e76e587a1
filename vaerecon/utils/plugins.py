"""Registries of methods and metrics, and the plug-ins that add to them.

A plug-in is a Python file, or a module that an installed package names as an entry point of a
group in :data:`GROUPS`; running it registers its methods and metrics. Plug-ins of packages and the
files in the environment variable :data:`VARIABLE` are loaded when a registry is first used.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, TypeVar

GROUPS = ("vaerecon.methods", "vaerecon.metrics")
VARIABLE = "VAERECON_PLUGINS"  # paths, separated as those of PATH
Record = TypeVar("Record")

files: dict[str, str] = {}  # path -> SHA-256 of the plug-in files that are loaded
packages: dict[str, str] = {}  # name -> version of the distributions whose plug-ins are loaded
_modules: set[str] = set()  # modules of plug-ins; for a package its top-level name
_registries: list[Registry[Any]] = []
_lock = threading.RLock()  # threads of a Dask worker wait until all plug-ins are loaded
_searched: list[bool] = []  # not empty: plug-ins of packages and of VARIABLE have been loaded


class Registry(MutableMapping[str, Record]):
    """Records by name; ``taken`` are reserved names."""

    def __init__(self, kind: str, taken: tuple[str, ...]):
        self._kind, self._taken = kind, taken
        self._records: dict[str, Record] = {}
        _registries.append(self)

    def add(self, name: str, record: Record) -> None:
        """Add a record; a ValueError if its name is taken."""
        if name in self._records or name in self._taken:
            raise ValueError(f"{self._kind}: got {name!r}, which is registered or reserved; "
                             "choose another name")  # fmt: skip
        self._records[name] = record

    def _all(self) -> dict[str, Record]:
        load_plugins()
        return self._records

    def __getitem__(self, name: str) -> Record:
        return self._all()[name]

    def __setitem__(self, name: str, record: Record) -> None:
        self._all()[name] = record

    def __delitem__(self, name: str) -> None:
        del self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def load_plugins() -> None:
    """Load, once, the plug-ins of packages and of VARIABLE; warn about those that fail."""
    from importlib.metadata import entry_points

    with _lock:
        if _searched:
            return
        _searched.append(True)
        points = {point.value: point for group in GROUPS for point in entry_points(group=group)}
        _modules.update(point.module.split(".")[0] for point in points.values())
        todo: list[tuple[str, str, Callable[[], object]]] = [
            (point.dist.name, point.dist.version, point.load) if point.dist else
            (point.value, "", point.load) for _, point in sorted(points.items())
        ]  # fmt: skip
        named = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
        todo += [(Path(path).name, "", partial(load_plugin, path)) for path in named]
        for name, version, load in todo:
            try:
                with _undo_on_error():
                    load()
            except (Exception, SystemExit) as error:
                warnings.warn(f"plug-in of {name}: left out, it cannot be loaded "
                              f"({type(error).__name__}: {error})", stacklevel=2)  # fmt: skip
            else:
                packages.update({name: version} if version else {})


class _Uncached(SourceFileLoader):
    """A loader that creates no folder ``__pycache__`` beside the file."""

    def set_data(self, *args: Any, **options: Any) -> None:
        """Write no bytecode."""


def load_plugin(path: str | os.PathLike[str]) -> None:
    """Run a Python file that registers methods or metrics; further calls for it do nothing.

    Worker processes, and notebooks that the command line runs, load it too.

    Raises
    ------
    ValueError
        If it is not a Python file, fails, or uses a taken name; nothing is registered then.
    """
    load_plugins()
    file = Path(path).expanduser().resolve()
    with _lock:
        if str(file) in files:
            return
        name = f"vaerecon_plugin_{file.stem}"
        spec = spec_from_file_location(name, file, loader=_Uncached(name, str(file)))
        if file.suffix != ".py" or not file.is_file() or spec is None or spec.loader is None:
            raise ValueError(f"plugin: got {os.fspath(path)!r}, expected a Python file (.py)")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        module = sys.modules[spec.name] = module_from_spec(spec)
        try:
            with _undo_on_error():
                spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[spec.name]
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                     if f.filename == str(file)]  # fmt: skip
            where = f", line {lines[-1]}" if lines else ""
            raise ValueError(f"plugin: {file.name} cannot be loaded ({type(error).__name__}: "
                             f"{error}{where})") from error  # fmt: skip
        files[str(file)] = digest
        _modules.add(name)


def place_of(error: BaseException) -> str:
    """Return ``plug-in my.py, line 4: `` if a plug-in raised the error, else an empty string."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").split(".")[0] in _modules:
            kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
            return f"plug-in {Path(frame.f_code.co_filename).name}, line {line}: {kind}"
    return ""


@contextmanager
def _undo_on_error() -> Iterator[None]:
    """Undo all registrations of the block if it raises, so that no plug-in is half loaded."""
    before = [(registry, dict(registry._records)) for registry in _registries]
    try:
        yield
    except BaseException:
        for registry, records in before:
            registry._records = records
        raise
