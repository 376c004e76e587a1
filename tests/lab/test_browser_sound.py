"""Sounds as they are found again: in a notebook that is reopened, in a page, without scripts.

As :mod:`test_browser`, in Chromium, and run with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.jupyter_lab import (
    ANSWER,
    DARK_FIGURES,
    TONE,
    Page,
    Server,
    wait_for,
    wait_until_it_moves,
)
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from vaerecon.lab.listening.levels import match_levels, pcm16
from vaerecon.lab.listening.player import player_html
from vaerecon.lab.reports.runs import run_notebook

pytestmark = [pytest.mark.browser, pytest.mark.needs("chromium", "chromedriver")]

CELLS = (
    "import numpy as np\n"
    "from vaerecon.audio.clip import Clip\n"
    "from vaerecon.lab.listening.player import play\n"
    "from vaerecon.lab.listening.widgets import AbxTest\n"
    "from vaerecon.lab.nb01_mel_analysis.explorer import explore_mel\n"
    "noise = np.random.default_rng(0).standard_normal(32000) / 9\n"
    "tracks = {'whole': noise, 'soft': noise / 9, 'other': noise[::-1]}",
    "play(tracks, title='as it is')",
    "play(tracks, title='blind', blind=True, seed=0)",
    "play(tracks, title='with a file', blind=True, seed=0, csv='preferences.csv')",
    "explore_mel(Clip.from_samples(noise[:8000], 16000, name='half'), n_iter=1)",
    "AbxTest({'a': noise, 'b': noise[::-1]}, n_trials=3, title='ABX', seed=0)",
)
MEDIA = [("screen", "light"), ("screen", "dark"), ("print", "dark")]
TITLES = [
    "as it is",
    "blind",
    "with a file",
    "",
]  # the players of the explorer and of the test have no title
PLAYERS = """
return [...document.querySelectorAll(".vaerecon-player")].filter((p) => p.checkVisibility());
"""


RECORDER = """
import ipywidgets as widgets
import numpy as np
from vaerecon.lab.widgets import YourClip

own, found = YourClip(longest=2.0), widgets.Label("nothing yet")
own.add_class("own")
found.add_class("found")

def look(_):
    samples = own.clip().samples
    loudest = np.abs(np.fft.rfft(samples)).argmax() * 16000 / len(samples)
    found.value = f"{len(samples) / 16000:.2f} s at {loudest:.0f} Hz"

own.observe(look, "given")
widgets.VBox([own, found])
"""

# The slow one answers a block of 40 ms after 200 ms and more.
LIVE = """
import time
import ipywidgets as widgets
import numpy as np
import vaerecon as vr
from vaerecon.lab.listening.recorder import LiveStream

class Slow(LiveStream):
    def _pass_on(self, *block):
        time.sleep(0.2)
        super()._pass_on(*block)

pipe = vr.ReconstructionPipeline.from_pretrained("tiny")
live, slow = LiveStream(pipe), Slow(pipe)
look, found = widgets.Button(description="look"), widgets.Label()
for name, widget in {"live": live, "slow": slow, "look": look, "found": found}.items():
    widget.add_class(name)

def on_look(_):
    texts = []
    for widget in (live, slow):
        stream = vr.Stream(pipe, sample_rate=widget.sample_rate)
        same = np.array_equal(widget.received, stream.push(widget.sent).numpy())
        spectrum = np.abs(np.fft.rfft(widget.sent))
        tone = spectrum.argmax() * widget.sample_rate / len(widget.sent)
        blocks = len(widget.sent) / widget.sample_rate / 0.04
        loud = np.abs(widget.received).max() > 0.05
        texts.append(f"{blocks:g} {tone:.0f} {same} {loud} {widget.dropped}")
    found.value = "; ".join(texts)

look.on_click(on_look)
widgets.VBox([live, slow, look, found])
"""

# The loudest of the last samples on the way to the loudspeaker, and window.given: the microphone.
EAR = """
if (!window.loudest) {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (what) => (window.given = await ask(what));
  const connect = AudioNode.prototype.connect;
  let ear = null;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) {
      if (ear?.context !== to.context) ear = new AnalyserNode(to.context, { fftSize: 32768 });
      connect.call(this, ear);
    }
    return connect.call(this, to, ...rest);
  };
  window.loudest = () => {
    const samples = new Float32Array(32768);
    ear?.getFloatTimeDomainData(samples);
    return samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  };
}
return window.loudest();
"""


def write_notebook(path: Path, *cells: str) -> Path:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    code = [new_code_cell(text) for text in cells]
    nbformat.write(new_notebook(cells=code, metadata=kernel), path)
    return path


def players(browser) -> dict:
    """The players that are seen, by title; each has a mel, unless it is blind, and plays."""
    found = browser.execute_script(PLAYERS)
    return {p.find_element(By.CLASS_NAME, "vp-title").text: p for p in found}


def all_play(browser, press: Callable) -> None:
    """Each player can be started, and goes on when the second sound is chosen."""
    for player in players(browser).values():
        press(player.find_element(By.XPATH, ".//button[text()='Loop']"))
        press(player.find_element(By.CLASS_NAME, "vp-play"))
        wait_until_it_moves(player)
        first = player.get_attribute("data-active")
        player.send_keys("2")
        assert player.get_attribute("data-active") != first
        wait_until_it_moves(player)


def figures_of(browser, medium: str, scheme: str) -> list[bool]:
    """For each figure of a page, whether the dark one is shown."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    how = {"media": medium, "features": features}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", how)
    return browser.execute_script(DARK_FIGURES)


def close(server: Server, page: Page, path: Path) -> None:
    """Save, and shut the kernel down."""
    page.menu("File", "Save Notebook")
    wait_for(lambda: "audio/wav" in path.read_text(encoding="utf-8"), "the saved notebook")
    server.end_kernels()


@pytest.mark.process
def test_a_notebook_that_is_reopened_still_plays(driver, server):
    source = write_notebook(server.folder / "sounds.ipynb", *CELLS)

    def heard() -> list[str]:
        """What is seen of the test, apart from the widget."""
        text = "ABX: 1 of 3 trials answered. To listen, run the cell again. Its sounds:"
        return [p.text for p in page.all("p") if p.text == text]

    page = Page(driver, server, source)
    page.run_all()
    assert page.state()["problems"] == []
    assert list(players(driver)) == TITLES  # the widgets; what would stay of them is hidden
    page.press(driver.find_element(By.XPATH, "//button[text()='X is A']"))
    page.wait(lambda state: "ABX, trial 2 of 3" in state["text"], "the second trial", ANSWER)
    assert heard() == []  # hidden too
    asked = players(driver)["with a file"]
    page.press(asked.find_element(By.XPATH, ".//button[text()='Prefer A']"))
    page.press(asked.find_element(By.CLASS_NAME, "vp-reveal"))
    wait_for(lambda: asked.get_attribute("data-active").startswith("A: "), "the names")
    assert asked.find_element(By.CLASS_NAME, "vp-mel").is_displayed()
    page.press(asked.find_element(By.XPATH, ".//button[starts-with(text(), 'Prefer A: ')]"))
    wait_for(lambda: "(2 so far)" in asked.text, "the second preference")
    rows = pd.read_csv(source.with_name("preferences.csv"))
    assert list(rows["blind"]) == ["yes", "no"]
    assert set("A: " + rows["choice"]) == {asked.get_attribute("data-active")}
    close(server, page, source)
    saved = nbformat.read(source, as_version=4)
    assert "widgets" not in saved.metadata

    page = Page(driver, server, source)
    assert list(players(driver)) == TITLES
    assert len(heard()) == 1
    all_play(driver, page.press)

    # another machine does not trust it: JupyterLab takes the script out, and the sounds stay
    other = source.with_name("other.ipynb")
    saved.cells[0].source += "  # by somebody else"
    nbformat.write(saved, other)
    page = Page(driver, server, other)
    assert page.all(".vaerecon-player") == []
    sounds = wait_for(lambda: page.all("audio"), "the table")
    assert len(heard()) == 1
    assert len(sounds) == 3 + 3 + 3 + 2 + 2
    for sound in sounds:
        assert sound.get_attribute("src").startswith("data:audio/wav;base64,")
        wait_for(lambda sound=sound: sound.get_property("duration") in (2.0, 0.5), "the sound")


@pytest.mark.process
def test_the_microphone_is_recorded(driver, server):
    """Chromium's microphone hears a tone. Stopped by hand, and by itself after 2 s."""
    page = Page(driver, server, write_notebook(server.folder / "recorder.ipynb", RECORDER))
    page.run_all()
    (found,) = page.all(".found")
    button = wait_for(lambda: page.all(".own button:last-of-type"), "the recorder")[-1]
    for by_hand in (True, False):
        assert button.text == "Record"
        button.click()
        wait_for(lambda: button.text == "Stop", "the microphone")
        before = found.text
        if by_hand:
            clock = page.all(".own [role=status]")[0]
            wait_for(lambda clock=clock: clock.text > "0.5 s", "half a second")
            button.click()
        wait_for(lambda before=before: found.text != before, "the clip")
        length, tone = re.fullmatch(r"([\d.]+) s at (\d+) Hz", found.text).groups()
        assert float(length) > 0.5 if by_hand else float(length) == 2.0
        assert abs(float(tone) - TONE) < 5
    assert page.state()["problems"] == []


@pytest.mark.process
def test_the_microphone_goes_through_a_stream_and_back(driver, server):
    """Once as it is, once with answers that take too long: blocks are dropped and counted."""
    page = Page(driver, server, write_notebook(server.folder / "live.ipynb", LIVE))
    page.run_all()
    driver.execute_script(EAR)
    shown = []
    for name, blocks in (("live", 71), ("slow", 21)):
        button = wait_for(lambda name=name: page.all(f".{name} button"), "the widget")[0]
        status = page.all(f".{name} [role=status]")[0]
        button.click()
        wait_for(lambda status=status, n=blocks: f" {n} blocks" in status.text, "the answers")
        assert driver.execute_script(EAR) == 0  # muted
        if name == "live":
            page.all(".live input")[0].click()
            wait_for(lambda: driver.execute_script(EAR) > 0.05, "sound")
        track = "return window.given.getTracks()[0].readyState"
        assert driver.execute_script(track) == "live"
        button.click()
        assert button.text == "Start"
        assert driver.execute_script(track) == "ended"  # the microphone is free again
        pattern = r"stream 283 ms, .* (\d+) blocks, (\d+) late, (\d+) dropped"
        shown.append([int(n) for n in re.search(pattern, status.text).groups()])
    page.all(".look")[0].click()
    (found,) = page.all(".found")
    wait_for(lambda: found.text, "the comparison")
    for (answers, _, dropped), text in zip(shown, found.text.split("; "), strict=True):
        blocks, tone, same, loud, told = text.split()
        # 10 s are kept; 8 may have been under way when it was stopped
        assert min(answers, 250) <= int(blocks) <= answers + 8
        assert abs(int(tone) - TONE) < 5
        assert (same, loud, told) == ("True", "True", str(dropped))
    _, late, dropped = shown[1]
    assert late > 0
    assert dropped > 0
    assert page.state()["problems"] == []


@pytest.mark.process
def test_zoom_download_reveal_and_removal(driver, tmp_path):
    noise = np.random.default_rng(0).standard_normal(32000) / 9
    matched = match_levels({"long": noise, "short": noise[::-1]})
    page = tmp_path / "page.html"
    both = [player_html(matched, title="t"), player_html(matched, title="b", blind=True)]
    page.write_text("".join(both), encoding="utf-8")
    driver.get(page.as_uri())
    player = players(driver)["t"]
    assert player.get_attribute("data-view") == "0.000 2.000"
    player.send_keys(Keys.ARROW_RIGHT * 10 + "++")  # to 1 s; then half, and half of that
    assert player.get_attribute("data-view") == "0.750 1.250"
    box = player.find_element(By.CLASS_NAME, "vp-picture")
    ActionChains(driver).move_to_element(box).click().perform()  # in the middle of what is seen
    assert abs(float(player.get_attribute("data-playhead")) - 1.0) < 0.01
    player.send_keys(Keys.HOME)  # outside: the view follows
    assert player.get_attribute("data-view") == "0.000 0.500"
    player.send_keys("--")
    assert player.get_attribute("data-view") == "0.000 2.000"

    allow = {"behavior": "allow", "downloadPath": str(tmp_path)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    player.send_keys("2")
    player.find_element(By.CSS_SELECTOR, "[aria-label^=Download]").click()
    file = tmp_path / "t short.wav"
    wait_for(file.is_file, "the file")
    found, rate = soundfile.read(file, dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(found, pcm16(matched.tracks[1].samples))

    blind = players(driver)["b"]
    assert blind.get_attribute("data-active") == "A"
    assert not blind.find_element(By.CLASS_NAME, "vp-mel").is_displayed()
    blind.find_element(By.CLASS_NAME, "vp-reveal").click()
    wait_for(lambda: blind.get_attribute("data-active") == "A: long", "the names")
    assert blind.find_element(By.CLASS_NAME, "vp-mel").is_displayed()

    blind.find_element(By.CLASS_NAME, "vp-play").click()
    wait_until_it_moves(blind)
    state = "return window.kept.dataset.state"
    driver.execute_script("window.kept = arguments[0]; window.kept.remove()", blind)
    wait_for(lambda: driver.execute_script(state) == "paused", "silence: the output was cleared")


@pytest.mark.process
def test_a_page_plays_too_and_only_the_players_script_runs(driver, tmp_path):
    run = run_notebook(write_notebook(tmp_path / "sounds.ipynb", *CELLS), output=tmp_path)
    page = tmp_path / "sounds.html"
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 1
    page.write_text(text.replace("</body>", "<script>document.title = 'x'</script></body>"))
    driver.get(page.as_uri())
    assert list(players(driver)) == TITLES
    assert [figures_of(driver, *how) for how in MEDIA] == [[False], [True], [False]]
    all_play(driver, lambda element: element.click())
    problems = [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    assert len(problems) == 1
    assert "Content Security Policy" in problems[0]
    assert driver.title != "x"

    # nbconvert's page, where no scripts run
    text, _ = HTMLExporter().from_notebook_node(run.notebook)
    page.write_text(re.sub(r"(?s)<script.*?</script>", "", text), encoding="utf-8")
    driver.get(page.as_uri())
    sounds = driver.find_elements(By.TAG_NAME, "audio")
    assert len(sounds) == 3 + 3 + 3 + 2 + 2
    wait_for(lambda: all(s.get_property("duration") in (2.0, 0.5) for s in sounds), "the sounds")
