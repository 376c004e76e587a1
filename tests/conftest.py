"""Fixtures that the tests share, and the rules for their marks."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator

import helpers.process_watch as process_watch  # before numpy and torch: sets their threads
import numpy as np
import pytest
from helpers.installed import need
from helpers.sounds import make_sound
from helpers.zygote import Zygote

from vaerecon.audio.clip import Clip
from vaerecon.utils import plugins

SKIPPED = "Skipped: needs "


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without the garbage collector, which took a sixth of that time: modules stay."""
    gc.disable()
    result = yield
    gc.freeze()  # nor does it look through them later
    gc.enable()
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first: what is left at the end is then shared evenly by the workers."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(tryfirst=True)  # before the fixtures, which may need it too
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``needs("name", ...)`` where one of the names is not installed."""
    process_watch.started.clear()
    need(*(name for mark in item.iter_markers("needs") for name in mark.args))


process_watch.watch()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef) -> Iterator[None]:
    """See :func:`helpers.process_watch.note_fixture`."""
    before = len(process_watch.started)
    result = yield
    what = process_watch.started[before:]
    process_watch.note_fixture(fixturedef.baseid, fixturedef.argname, what)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that starts a process without the mark ``process``: `make quick` trusts it."""
    result = yield
    what = process_watch.starts_of(item.nodeid, item.fixturenames)
    if what and item.get_closest_marker("process") is None:
        pytest.fail(f"starts a process, but is not marked `process`: {what[0]}")
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """At the very end, one line that counts these skips by the name of what is missing."""
    yield
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    skipped = [reason.split("needs ")[1] for reason in reasons if reason.startswith(SKIPPED)]
    if skipped:
        counts = Counter(name for names in skipped for name in names.split(", "))
        text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"{len(skipped)} skipped for what is not installed: {text}")


@pytest.fixture(autouse=True)
def plugin_files_of_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in file that one test loads is not named in the records of the next."""
    monkeypatch.setattr(plugins, "files", dict(plugins.files))


@pytest.fixture(scope="session")
def sound() -> np.ndarray:
    """One second of :func:`make_sound`."""
    return make_sound()


@pytest.fixture(scope="session")
def clip(sound) -> Clip:
    """The same as a clip."""
    return Clip(sound, 16000, "chord")


@pytest.fixture(scope="session")
def tiny():
    """The bundled model, loaded once."""
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A warm process that forks others."""
    if not hasattr(os, "fork"):
        pytest.skip("forks are POSIX's")
    warm = Zygote()
    yield warm
    warm.close()
