"""JupyterLab and Chromium: each worker of pytest-xdist starts them once, if it runs such tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most tests need neither
    from helpers.jupyter_lab import Server
    from selenium.webdriver.remote.webdriver import WebDriver


@pytest.fixture(scope="session")
def jupyter_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from helpers.jupyter_lab import run_jupyter_lab

    with run_jupyter_lab(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture
def server(jupyter_lab: Server) -> Iterator[Server]:
    """JupyterLab, in which no kernel runs yet."""
    yield jupyter_lab
    jupyter_lab.end_kernels()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    from helpers.jupyter_lab import run_chromium

    with run_chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def driver(chromium: WebDriver) -> Iterator[WebDriver]:
    """Chromium with a new tab. JupyterLab's scripts are in its cache from the second page on."""
    chromium.get_log("browser")  # of the test before
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    yield chromium
    chromium.close()
    chromium.switch_to.window(first)
