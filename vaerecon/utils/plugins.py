"""Registries of methods and metrics, and the plug-ins that add to them.

A plug-in is a Python file, or a module that an installed package names as an entry point of a
group in :data:`GROUPS`; it registers what it has when it is run. Those of packages, and the files
that the environment variable :data:`VARIABLE` names, are loaded at the first look at a registry.
"""

import hashlib
import os
import sys
import threading
import traceback
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator
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
_registries: list["Registry[Any]"] = []
_lock = threading.RLock()  # threads of a Dask worker wait until all are loaded
_looked: list[bool] = []  # not empty: packages and VARIABLE have been looked at


class Registry(UserDict[str, Record]):
    """Records by name; ``taken`` are names that none may have."""

    def __init__(self, kind: str, taken: tuple[str, ...]):  # no super().__init__: it sets data
        self._kind, self._taken = kind, taken
        self._records: dict[str, Record] = {}
        _registries.append(self)

    @property
    def data(self) -> dict[str, Record]:  # type: ignore[override]
        """Where :class:`~collections.UserDict` looks: the records, with those of plug-ins."""
        load_plugins()
        return self._records

    def add(self, name: str, record: Record) -> None:
        """Add a record; a ValueError if its name is taken."""
        if name in self._records or name in self._taken:
            raise ValueError(f"{self._kind}: got {name!r}, which is registered or reserved; "
                             "choose another name")  # fmt: skip
        self._records[name] = record


def load_plugins() -> None:
    """Load once what packages and VARIABLE name; one that fails is a warning, the others work."""
    from importlib.metadata import entry_points

    with _lock:
        if _looked:
            return
        _looked.append(True)
        points = {point.value: point for group in GROUPS for point in entry_points(group=group)}
        todo: list[tuple[str, str, Callable[[], object]]] = [
            (point.dist.name, point.dist.version, point.load) if point.dist else
            (point.value, "", point.load) for _, point in sorted(points.items())
        ]  # fmt: skip
        named = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
        todo += [(Path(path).name, "", partial(load_plugin, path)) for path in named]
        for name, version, load in todo:
            try:
                with _whole():
                    load()
            except (Exception, SystemExit) as error:
                warnings.warn(f"plug-in of {name}: left out, it cannot be loaded "
                              f"({type(error).__name__}: {error})", stacklevel=2)  # fmt: skip
            else:
                packages.update({name: version} if version else {})


class _Uncached(SourceFileLoader):
    """Leaves no folder ``__pycache__`` beside the file."""

    def set_data(self, *args: Any, **options: Any) -> None:
        """Write no bytecode."""


def load_plugin(path: str | os.PathLike[str]) -> None:
    """Run a Python file that registers methods or metrics; once, however often it is named.

    Worker processes, and notebooks that the command line runs, have it too. A ValueError, and
    nothing registered, if it is no Python file, or cannot be run, or a name is taken.
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
            with _whole():
                spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[spec.name]
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                     if f.filename == str(file)]  # fmt: skip
            where = f", line {lines[-1]}" if lines else ""
            raise ValueError(f"plugin: {file.name} cannot be loaded ({type(error).__name__}: "
                             f"{error}{where})") from error  # fmt: skip
        files[str(file)] = digest


@contextmanager
def _whole() -> Iterator[None]:
    """Take back what was registered if there is an error: no half of a plug-in stays."""
    before = [(registry, dict(registry._records)) for registry in _registries]
    try:
        yield
    except BaseException:
        for registry, records in before:
            registry._records = records
        raise
