"""JupyterLab and Chromium as the browser tests use them: a server, a browser, a notebook in both.

The server listens on the loopback only, has its own settings and looks for neither news nor
updates, and the browser can reach no other machine: whatever a page asked for elsewhere would stand
in its console as an error.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import soundfile
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCREENSHOTS = ROOT / "reports" / "screenshots"
WINDOW = (1400, 1800)  # pixels
TONE = 1000  # Hz
# Seconds. Each is many times what is needed: they end a test that hangs, and measure nothing.
START, RUN, ANSWER = 120, 400, 60

# where JupyterLab keeps what a reader answers to "Would you like to get notified of news?"
NOTIFICATIONS = "lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--use-fake-device-for-media-stream",  # a microphone, which hears TONE
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    f"--window-size={WINDOW[0]},{WINDOW[1]}",
)


def soon(look: Callable[[], Any], seconds: float) -> Any:
    """What ``look`` returns as soon as it is true, or at the end of ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def wait_for(look: Callable[[], Any], what: str, seconds: float = ANSWER) -> Any:
    """What ``look`` returns, as soon as it is true."""
    return soon(look, seconds) or pytest.fail(f"waited {seconds} s for {what}")


# ------------------------------------------------------------------ the server


@dataclass(frozen=True)
class Server:
    """A JupyterLab of our own."""

    url: str
    token: str
    folder: Path  # of the notebooks

    def call(self, path: str, method: str = "GET") -> Any:
        """Ask the server's own interface."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)  # noqa: S310 (our server)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=ANSWER) as answer:  # noqa: S310 (ours)
            text = answer.read()
        return json.loads(text) if text else None

    def end_kernels(self) -> None:
        """Shut all kernels down."""
        for session in self.call("api/sessions"):
            self.call(f"api/sessions/{session['id']}", "DELETE")


def copy_notebooks(folder: Path) -> None:
    """The notebooks, each with the small parameters that ``vaerecon check`` gives it."""
    checks = yaml.safe_load((ROOT / "notebooks" / "checks.yaml").read_text(encoding="utf-8"))
    folder.mkdir()
    for path in NOTEBOOKS:
        notebook = load_notebook_node(str(path))
        small = parameterize_notebook(notebook, checks[path.stem]["parameters"])
        nbformat.write(small, folder / path.name)


@contextmanager
def run_jupyter_lab(home: Path) -> Iterator[Server]:
    """JupyterLab with copies of the notebooks, all in the folder ``home``."""
    copy_notebooks(home / "notebooks")
    settings = home / "config" / NOTIFICATIONS
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
    token = secrets.token_hex()
    places = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(home / folder) for name, folder in places.items()},
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_TOKEN": token,
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", "--port=0", f"--notebook-dir={home / 'notebooks'}"),
        *("--LabApp.news_url=None", "--LabApp.extension_manager=readonly"),
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
    ]
    log = home / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=environment, cwd=home, stdout=file, stderr=file) as process,
    ):
        try:
            url = wait_for(lambda: _address(process, log), "JupyterLab", START)
            yield Server(url, token, home / "notebooks")
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()  # once, it said that it stops and waited for a thread for ever


def _address(process: subprocess.Popen, log: Path) -> str | None:
    """Where the server listens, once it does."""
    text = log.read_text(encoding="utf-8")
    assert process.poll() is None, f"JupyterLab did not start:\n{text}"
    found = re.search(r"(http://127\.0\.0\.1:\d+/)lab", text)
    return found and found[1]


# ------------------------------------------------------------------ the browser


@contextmanager
def run_chromium(folder: Path) -> Iterator[WebDriver]:
    """Chromium with a profile of its own in ``folder``."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    service = Service(shutil.which("chromedriver"))
    second = np.sin(2 * np.pi * TONE * np.arange(48000) / 48000)
    soundfile.write(folder / "tone.wav", second / 4, 48000)
    own = {"user-data-dir": "chromium", "use-file-for-fake-audio-capture": "tone.wav"}
    for flag in (*FLAGS, *(f"--{name}={folder / path}" for name, path in own.items())):
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox does not run as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=service)
    browser.set_page_load_timeout(START)
    try:
        yield browser
    finally:
        browser.quit()


# All cells in one look. What is not on the screen is in the page, but has no visible text.
STATE = """
const all = (css) => [...document.querySelectorAll(css)];
return {
  cells: all(".jp-Notebook .jp-Cell").length,
  kernel: document.querySelector(".jp-Notebook-ExecutionIndicator")?.dataset.status,
  prompts: all(".jp-CodeCell .jp-InputPrompt").map((prompt) => prompt.textContent.trim()),
  problems: all('[data-mime-type$="jupyter.error"], [data-mime-type$="jupyter.stderr"], ' +
    '.jupyter-widgets-disconnected').map((output) => output.textContent),
  text: document.querySelector(".jp-Notebook")?.textContent,
};
"""
PIXELS = """
const image = arguments[0].querySelector("img.vaerecon-figure");
if (!image?.naturalWidth) return null;
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
canvas.getContext("2d").drawImage(image, 0, 0);
return canvas.toDataURL();
"""
DARK_FIGURES = """
const figures = ".jp-RenderedImage img, img.vaerecon-figure";
return [...document.querySelectorAll(figures)].map(
  (image) => getComputedStyle(image).content.startsWith('url("data:image/png'));
"""
PLACE = """
arguments[0].scrollIntoView({block: "center"});
return arguments[0].getBoundingClientRect().top;
"""
PANEL = ".jp-NotebookPanel .jp-WindowedPanel-outer"  # what scrolls
DRAWN = """
const done = arguments[0];
const idle = (next) => requestIdleCallback(next, {timeout: 500});
idle(() => requestAnimationFrame(() => idle(() => done())));
"""
AT_THE_END = """
const last = [...document.querySelectorAll(".jp-Notebook .jp-Cell")].at(-1);
return last.getBoundingClientRect().bottom < window.innerHeight;
"""


def _at_rest(state: dict[str, Any]) -> bool:
    """All cells have run, or one of them went wrong."""
    # a cell whose source is folded away has an empty prompt
    done = all(re.fullmatch(r"(\[\d+\]:)?", prompt) for prompt in state["prompts"])
    return bool(state["problems"]) or (state["kernel"] == "idle" and done)


class Page:
    """One notebook in JupyterLab."""

    def __init__(self, driver: WebDriver, server: Server, path: Path) -> None:
        self.driver, self.stem = driver, path.stem
        cells = len(nbformat.read(path, as_version=4).cells)
        driver.get(f"{server.url}lab/tree/{path.name}?reset&token={server.token}")
        self.wait(lambda s: s["cells"] >= cells and s["kernel"] == "idle", "the notebook", START)

        def ready() -> bool:  # the page says so before it is; run now, it would ask for a kernel
            kernels = [s["kernel"] for s in server.call("api/sessions") if s["path"] == path.name]
            return [kernel["execution_state"] for kernel in kernels] == ["idle"]

        wait_for(ready, "the kernel", START)

    def state(self) -> dict[str, Any]:
        return self.driver.execute_script(STATE)

    def wait(self, good: Callable[[dict[str, Any]], bool], what: str, seconds: float) -> None:
        wait_for(lambda: good(self.state()), what, seconds)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, f".jp-Notebook {css}")

    def menu(self, *path: str) -> None:
        """Click an entry of a menu."""
        for css, text in zip(("li.lm-MenuBar-item", ".lm-Menu-item"), path, strict=True):
            entries = self.driver.find_elements(By.CSS_SELECTOR, css)
            # a key may stand behind the words
            next(entry for entry in entries if re.match(rf"{text}( Ctrl|\n|$)", entry.text)).click()

    def run_all(self) -> None:
        """By the menu, and until there is nothing left to run."""

        def starts() -> bool:  # on a busy machine JupyterLab may lose a click
            self.menu("Run", "Run All Cells")
            return soon(lambda: set(self.state()["prompts"]) - {"", "[ ]:"}, 10)

        wait_for(starts, "the first cell")
        self.wait(_at_rest, "the cells", RUN)

    def control(self) -> WebElement:
        """The first explorer's first slider; if it has none, its first choice."""
        # with a picture: a listening test has sliders too, and none
        explorer = ".jp-OutputArea:has(img.vaerecon-figure)"
        return [
            *self.all(f"{explorer} .widget-slider .noUi-handle"),
            *self.all(f"{explorer} .widget-dropdown select"),
        ][0]

    def pixels(self, output: WebElement) -> str | None:
        """What an explorer's figure shows, as text; None while it shows nothing."""
        return self.driver.execute_script(PIXELS, output)

    def dark_figures(self) -> list[bool]:
        """For each figure, whether the dark one is shown."""
        return self.driver.execute_script(DARK_FIGURES)

    def press(self, element: WebElement) -> None:
        """Click what may be off the screen. Cells on the way there are drawn late and push it."""

        def rests() -> bool:
            before = self.driver.execute_script(PLACE, element)
            time.sleep(0.2)
            return self.driver.execute_script(PLACE, element) == before

        wait_for(rests, "the page to come to rest")
        element.click()

    def photograph(self) -> None:
        """Every screenful of the notebook, in order, into ``reports/screenshots``."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for old in SCREENSHOTS.glob(f"{self.stem}-*.png"):
            old.unlink()
        scroll = self.driver.execute_script
        scroll(f"document.querySelector('{PANEL}').scrollTo(0, 0)")
        for number in range(1, 100):
            # what is drawn only once it is on the screen
            self.driver.execute_async_script(DRAWN)
            self.driver.save_screenshot(SCREENSHOTS / f"{self.stem}-{number:02}.png")
            if scroll(AT_THE_END):
                break
            scroll(f"document.querySelector('{PANEL}').scrollBy(0, window.innerHeight - 250)")


def wait_until_it_moves(player: WebElement) -> None:
    before = player.get_attribute("data-playhead")

    def moves() -> bool:
        playing = player.get_attribute("data-state") == "playing"
        return playing and player.get_attribute("data-playhead") != before

    wait_for(moves, "the playhead to move")
