"""The notebooks as their readers meet them: in JupyterLab, in Chromium, by mouse and keyboard.

Deselected by default (``make test``), since it needs a browser; ``make browser-test`` runs it and
leaves pictures of every notebook, top to bottom, in ``reports/screenshots/``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.jupyter_lab import NOTEBOOKS, Page, Server, wait_for, wait_until_it_moves
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select

pytestmark = [pytest.mark.browser, pytest.mark.needs("chromium", "chromedriver")]

WITHOUT_EXPLORER = ("00_overview", "06_listening_test", "08_real_time", "09_mel_settings",
                    "11_domains")  # fmt: skip
TRACKS = ".vp-tracks button"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def page(request, driver: WebDriver, server: Server) -> Iterator[Page]:
    """A notebook in JupyterLab, photographed at the end, whatever became of it."""
    opened = Page(driver, server, request.param)
    yield opened
    opened.photograph()


# ------------------------------------------------------------------ what a reader does


@pytest.mark.process
def test_a_notebook_runs_answers_and_plays(page):
    page.run_all()
    assert page.state()["problems"] == []
    if page.stem not in WITHOUT_EXPLORER:
        move_a_slider(page)
    follow_the_theme(page)
    play_and_switch(page)
    assert page.state()["problems"] == []
    assert "Error displaying widget" not in page.state()["text"]
    assert [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def move_a_slider(page: Page) -> None:
    """The explorer's figure becomes another one."""
    control = page.control()
    output = control.find_element(By.XPATH, "ancestor::*[contains(@class, 'jp-OutputArea')][1]")
    before = wait_for(lambda: page.pixels(output), "the explorer's figure")
    if control.tag_name == "select":
        Select(control).select_by_index(1)
    else:
        control.send_keys(Keys.ARROW_RIGHT)
    wait_for(lambda: page.pixels(output) not in (None, before), "another figure")


def follow_the_theme(page: Page) -> None:
    """JupyterLab sets this attribute when the reader chooses another theme."""
    light = page.dark_figures()
    page.driver.execute_script("document.body.dataset.jpThemeLight = 'false'")
    dark = page.dark_figures()
    page.driver.execute_script("document.body.dataset.jpThemeLight = 'true'")
    assert light == [False] * len(light)
    assert dark == [True] * len(light)


def play_and_switch(page: Page) -> None:
    """The first player plays; one with several sounds goes on playing when they are switched."""
    players = page.all(".vaerecon-player")
    first = players[0]
    several = next(p for p in players if len(p.find_elements(By.CSS_SELECTOR, TRACKS)) > 1)
    for player in dict.fromkeys([first, several]):
        # round and round: the clip may be over sooner than a slow machine looks again
        page.press(player.find_element(By.XPATH, ".//button[text()='Loop']"))
        page.press(player.find_element(By.CLASS_NAME, "vp-play"))
        wait_until_it_moves(player)
    if first != several:
        assert first.get_attribute("data-state") == "paused"  # one at a time

    label = several.get_attribute("data-active")
    tracks = several.find_elements(By.CSS_SELECTOR, TRACKS)
    other = next(track for track in tracks if track.get_attribute("aria-pressed") == "false")
    page.press(other)
    wait_for(lambda: several.get_attribute("data-active") != label, "another sound")
    assert several.get_attribute("data-active") in other.text
    wait_until_it_moves(several)
    page.press(several.find_element(By.CLASS_NAME, "vp-play"))
    wait_for(lambda: several.get_attribute("data-state") == "paused", "silence")
