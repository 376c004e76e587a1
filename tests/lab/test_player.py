"""The player: levels, the HTML table, what the widget sends, what it records, its script."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import shutil
import subprocess
import wave
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.system import LIMIT
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from vaerecon.lab.listening import player as player_module
from vaerecon.lab.listening.levels import (
    CEILING,
    audio_table,
    blind_labels,
    gain_text,
    level_text,
    loudness,
    match_levels,
)
from vaerecon.lab.listening.player import (
    PREFERENCE_COLUMNS,
    ABPlayer,
    mel_pictures,
    play,
    player_code,
    player_script,
)
from vaerecon.lab.listening.statistics import append_rows
from vaerecon.lab.listening.widgets import AbxTest, MushraTest

FOLDER = Path(player_module.__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"
STEP = 1 / 32767  # of 16-bit samples


def rms(x) -> float:
    return float(np.std(np.asarray(x, dtype=np.float64)))


class Table(HTMLParser):
    """What a browser would find in the table: texts by element, sounds, and all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.texts, self.sounds, self.links = [], {}, {}, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[key] for key in ("src", "href", "data") if key in found]
        if tag == "audio":
            self.sounds[found["aria-label"]] = read_wav(found["src"])

    def handle_data(self, text):
        self.texts.setdefault(self.tags[-1], []).append(text)


def read_wav(uri: str) -> tuple[np.ndarray, int]:
    head, data = uri.split(",")
    assert head == "data:audio/wav;base64"
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples / 32767, file.getframerate()


@pytest.fixture
def three(sound):
    """The sound, a much softer one with noise, and a louder one."""
    noise = np.random.default_rng(1).standard_normal(len(sound))
    soft = (0.01 * (sound + 0.1 * noise)).astype(np.float32)
    return {"original": sound, "soft": soft, "loud": (2 * sound).astype(np.float32)}


# --- levels ---------------------------------------------------------------------------------------


def test_every_track_gets_the_level_of_the_reference_by_one_gain(three):
    matched = match_levels(three, reference="original")
    assert matched.reference == "original"
    for track in matched.tracks:
        x = three[track.name].astype(np.float64)
        gain = 10 ** ((track.gain_db + matched.common_gain_db) / 20)
        # one gain for all samples; float32 rounding of values up to 1
        np.testing.assert_allclose(track.samples, gain * x, atol=1e-7)
        assert rms(track.samples) == pytest.approx(rms(three["original"]), rel=1e-5)  # float32
    # twice as loud: 20 log10(1/2)
    assert matched.tracks[2].gain_db == pytest.approx(-6.0206, abs=1e-3)
    assert gain_text(matched.tracks[2]) == "-6.0 dB"
    assert gain_text(matched.tracks[0]) == "+0.0 dB"


def test_the_first_track_is_the_reference_unless_one_is_named(three):
    assert match_levels(three).reference == "original"
    loud = match_levels(three, reference="loud")
    assert loud.tracks[0].gain_db == pytest.approx(6.0206, abs=1e-3)


def test_clipping_is_avoided_by_one_gain_for_all(three):
    spiky = np.zeros_like(three["original"])
    spiky[::4000] = 0.1  # the same RMS as the chord makes its peaks huge
    tracks = {**three, "spiky": spiky}
    matched = match_levels(tracks, reference="original", max_drop=math.inf)
    peaks = [np.abs(t.samples).max() for t in matched.tracks]
    assert max(peaks) == pytest.approx(CEILING, rel=1e-6)
    assert matched.common_gain_db < -6
    levels = [rms(t.samples) for t in matched.tracks]
    np.testing.assert_allclose(levels, levels[0], rtol=1e-5)  # float32; nothing moved
    assert f"{matched.common_gain_db:+.1f} dB for all" in level_text(matched)
    # as the player shows them: the others lose 6 dB at most, and what is softer is named
    capped = match_levels(tracks, reference="original")
    assert capped.common_gain_db == pytest.approx(-6, abs=1e-6)
    assert [t.missing_db > 0 for t in capped.tracks] == [False, False, False, True]
    levels = [rms(t.samples) for t in capped.tracks]
    np.testing.assert_allclose(levels[1:3], levels[0], rtol=1e-5)
    softer = 20 * math.log10(levels[0] / levels[3])
    assert softer == pytest.approx(capped.tracks[3].missing_db, abs=1e-3)
    assert softer == pytest.approx(-6 - matched.common_gain_db, abs=1e-3)  # not more than needed
    assert f"except “spiky”, {softer:.1f} dB softer because of its peaks" in level_text(capped)


def test_loudness_is_that_of_bs_1770(three):
    """The recommendation: a sine of 997 Hz at full scale in one channel has -3.01 LKFS."""
    t = np.arange(3 * 48000) / 48000
    tone = np.sin(2 * np.pi * 997 * t)
    for rate in (48000, 16000):  # 0.1 LU is the tolerance of EBU Tech 3341
        assert loudness(tone[:: 48000 // rate], rate) == pytest.approx(-3.01, abs=0.1)
    assert loudness(tone[:19000], 48000) is None
    assert loudness(tone * 1e-5, 48000) is None
    low = np.sin(2 * np.pi * 60 * t[::3])  # the same RMS sounds softer down there
    matched = match_levels({"a": tone[::3], "low": low}, measure="loudness")
    assert matched.tracks[1].gain_db > 1
    assert matched.tracks[0].loudness == pytest.approx(matched.tracks[1].loudness, abs=0.01)
    assert "(loudness, BS.1770) of “a”" in level_text(matched)
    with pytest.raises(ValueError, match=r"track 'a' is shorter than 0\.4 s"):
        match_levels({"a": tone[:3000]}, measure="loudness")
    with pytest.raises(ValueError, match="measure: got 'peak', expected"):
        match_levels(three, measure="peak")


def test_levels_can_stay_as_they_came_but_nothing_clips(three):
    matched = match_levels(three, level_match=False)
    assert [t.gain_db for t in matched.tracks] == [0, 0, 0]
    assert matched.common_gain_db == 0
    np.testing.assert_array_equal(matched.tracks[1].samples, three["soft"])
    assert level_text(matched) == "Levels unchanged."
    over = match_levels({"a": three["loud"] * 4, "b": three["soft"]}, level_match=False)
    assert np.abs(over.tracks[0].samples).max() <= CEILING * (1 + 1e-6)  # float32 rounding
    ratio = rms(over.tracks[0].samples) / rms(over.tracks[1].samples)
    assert ratio == pytest.approx(4 * rms(three["loud"]) / rms(three["soft"]), rel=1e-5)  # float32


def test_silence_stays_silent_and_a_silent_reference_warns(sound):
    silence = np.zeros_like(sound)
    matched = match_levels({"original": sound, "silence": silence})
    assert not matched.tracks[1].samples.any()
    assert gain_text(matched.tracks[1]) == "silent"
    with pytest.warns(UserWarning, match=r"'silence' is silent: levels left"):
        matched = match_levels({"silence": silence, "original": sound})
    np.testing.assert_array_equal(matched.tracks[1].samples, sound)
    assert matched.reference is None
    constant = match_levels({"original": sound, "dc": silence + 0.3})  # DC is no sound
    assert constant.tracks[1].silent


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list, lambda x: x.astype(">f8")])
def test_arrays_tensors_and_lists_are_one(sound, kind):
    matched = match_levels({"a": kind(sound[:800]), "b": sound[:800]})
    np.testing.assert_array_equal(matched.tracks[0].samples, matched.tracks[1].samples)


@pytest.mark.parametrize(
    ("tracks", "options", "message"),
    [
        ({}, {}, r"tracks: got none"),
        ({"a": [0.1, 0.2], "b": [0.1]}, {}, r"lengths \{'a': 2, 'b': 1\}.*cut them"),
        ({"a": [[0.1, 0.2]]}, {}, r"track 'a': got shape \[1, 2\], expected \[N\]"),
        ({"a": [float("nan")]}, {}, r"track 'a': .*NaN"),
        ({"a": []}, {}, r"track 'a': .*none"),
        ({"a": [0.1]}, {"reference": "b"}, r"reference: got 'b', expected one of \['a'\]"),
        ({"a": [0.1]}, {"sample_rate": 0}, r"sample_rate: got 0"),
        ({"a": [0.1]}, {"sample_rate": 16000.5}, r"sample_rate: got 16000.5"),
    ],
)
def test_wrong_tracks_are_refused(tracks, options, message):
    with pytest.raises(ValueError, match=message):
        match_levels(tracks, **options)


# --- the table ------------------------------------------------------------------------------------


def test_the_table_plays_the_samples_within_16_bits(three):
    matched = match_levels(three)
    table = Table(audio_table(matched, title="a title"))
    assert list(table.sounds) == ["original", "soft", "loud"]
    for track in matched.tracks:
        samples, rate = table.sounds[track.name]
        assert rate == 16000
        # rounding to the nearest step, in float32, which is 0.004 of a step at full scale
        assert np.abs(samples - track.samples).max() <= 0.51 * STEP
    text = " ".join(part for parts in table.texts.values() for part in parts)
    for track in matched.tracks:
        assert gain_text(track) in text
    assert "a title" in text
    assert "1.00 s" in text
    assert level_text(matched) in text


def test_names_and_titles_are_escaped(sound):
    nasty = {"<script>alert(1)</script>": sound, '"><img src=x>': sound, "a & b": sound}
    for blind in (False, True):
        page = audio_table(match_levels(nasty), title="<b>bold</b>", blind=blind)
        table = Table(page)
        assert not {"script", "img", "b"} & set(table.tags)
        assert "<b>bold</b>" in table.texts["strong"]
    names = Table(audio_table(match_levels(nasty))).texts["th"]
    assert set(nasty) <= set(names)


@pytest.mark.parametrize("n", [1, 2, 159, 1023])
def test_very_short_and_silent_sounds_have_a_table_and_a_player(n):
    tracks = {"a": np.full(n, 0.1, np.float32), "b": np.zeros(n, np.float32)}
    with pytest.warns(UserWarning, match="silent"):  # one sample has no level, a constant neither
        matched = match_levels(tracks)
    assert len(Table(audio_table(matched)).sounds["a"][0]) == n
    shown = ABPlayer(matched)
    assert len(shown.pcm) == 2 * 2 * n


def test_a_blind_table_keeps_names_and_gains_for_the_end(three):
    matched = match_levels(three).shuffled(3)
    page = audio_table(matched, blind=True)
    before, folded = page.split("<details>")
    assert list(Table(page).sounds) == ["A", "B", "C"]
    for name in three:
        assert name not in before.split("base64")[0]
        assert name in folded
    for label, track in zip("ABC", matched.tracks, strict=True):
        assert f"{label} is {track.name} ({gain_text(track)})" in folded
        np.testing.assert_allclose(Table(page).sounds[label][0], track.samples, atol=STEP)
    assert not re.search(r"[+-]\d+\.\d dB", re.sub(r'src="[^"]*"', "", before))


# --- the order ------------------------------------------------------------------------------------


def test_the_blind_order_follows_the_seed(three):
    matched = match_levels(three)
    orders = {tuple(matched.shuffled(seed).names) for seed in range(50)}
    assert len(orders) == math.factorial(3)  # all orders occur
    assert matched.shuffled(7).names == matched.shuffled(7).names
    assert {tuple(matched.shuffled().names) for _ in range(50)} == orders  # (5/6)^50 * 6: 0.07 %
    assert matched.in_order(["loud", "original", "loud"]).names == ["loud", "original", "loud"]
    assert blind_labels(28)[-3:] == ["Z", "A1", "B1"]


# --- the widget -----------------------------------------------------------------------------------


@pytest.fixture
def outputs():
    """What a call displays: one mime bundle an output."""
    InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))

    def outputs_of(call, *arguments, **options) -> list[dict]:
        with capture_output() as captured:
            call(*arguments, **options)
        return [output.data for output in captured.outputs]

    yield outputs_of
    InteractiveShell.clear_instance()


def state_of(page: str) -> dict:
    """What the script makes a player of, besides the table."""
    return json.loads(html.unescape(re.search(r'data-vaerecon-player="([^"]*)"', page)[1]))


def test_the_output_needs_no_kernel(three, outputs):
    (data,) = outputs(play, three, reference="loud", title="t")
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/plain"] == "Sound player: original, soft, loud"
    table = Table(data["text/html"])
    assert list(table.sounds) == list(three)
    assert all(link.startswith("data:") for link in table.links)
    assert data["text/html"].endswith(player_code())
    shown = ABPlayer(match_levels(three, reference="loud"), title="t")
    state = state_of(data["text/html"])
    assert base64.b64decode(state.pop("picture")) == shown.picture
    assert state.pop("samples") == len(three["loud"])
    assert state == {name: getattr(shown, name) for name in state}
    assert set(state) >= {"labels", "gains", "note", "ticks", "sample_rate", "n_mels"}


def test_a_blind_output_holds_the_names_for_the_end(three, outputs):
    (data,) = outputs(play, three, blind=True, seed=5)
    assert data["text/plain"] == "Sound player: A, B, C"
    state = state_of(data["text/html"])
    answer = state.pop("answer")
    assert not any(name in repr(state) for name in ("original", "soft", "loud"))
    assert (state["labels"], state["gains"], state["picture"]) == (["A", "B", "C"], [], "")
    shown = ABPlayer(match_levels(three).shuffled(5), blind=True)
    shown.set_state({"revealed": True})
    assert base64.b64decode(answer.pop("picture")) == shown.picture
    assert answer == {name: getattr(shown, name) for name in answer}
    assert answer["labels"][0] == f"A: {match_levels(three).shuffled(5).names[0]}"


def test_a_widget_leaves_a_player_below_it(three, outputs, tmp_path):
    live, still = outputs(play, three, blind=True, seed=5, csv=tmp_path / "p.csv")
    assert set(live) == {WIDGET, "text/plain"}
    assert live["text/plain"] == "Sound player: A, B, C"
    assert list(Table(still["text/html"]).sounds) == ["A", "B", "C"]
    mark = f"vaerecon-{live[WIDGET]['model_id']}"  # hidden while the widget is there
    assert still["text/html"].startswith(f'<div class="{mark}-still">')
    assert f"body:has(.{mark}) .{mark}-still {{ display: none; }}" in still["text/html"]


def test_a_listening_test_leaves_its_progress_and_result(three, outputs):
    """As the cell shows it at first, and after each answer; with its sounds."""
    two = {name: three[name] for name in ("original", "soft")}
    abx, mushra = AbxTest(two, n_trials=2, seed=0), MushraTest({"one": two})

    def submit() -> None:
        mushra.moved = set(mushra.sliders)
        mushra.submit()

    again = "To listen, run the cell again."
    steps = [
        (abx, abx._ipython_display_, f"0 of 2 trials answered. {again}"),
        (abx, lambda: abx.answer(abx.order[0]), f"1 of 2 trials answered. {again}"),
        (abx, lambda: abx.answer(abx.order[1]), "2 of 2 trials answered. 2 of 2 right (100%"),
        (mushra, mushra._ipython_display_, f"0 of 1 items rated. {again}"),
        (mushra, submit, "1 of 1 items rated. Finished."),
    ]
    for test, step, text in steps:
        *live, below = outputs(step)
        assert all(shown["text/plain"] == "(a widget)" for shown in live)
        still = below["text/html"]
        assert text in still
        assert still.startswith(f'<div class="vaerecon-{test.model_id}-still">')
        names = re.findall('<th scope="row">(.+?)</th>', still)
        assert names == test.matched.names  # not in the order of the test
        assert len(names) == len(set(names)) == still.count("<audio")


def test_nothing_is_loaded_from_anywhere(three):
    """No address in the output, nor in what the page gets from Python; no import in the script."""
    shown = ABPlayer(match_levels(three))
    data, _ = shown._repr_mimebundle_()
    state = {k: v for k, v in shown.get_state().items() if isinstance(v, str)}
    script = (FOLDER / "player.js").read_text(encoding="utf-8")
    assert state["_esm"] == script
    assert state["_css"] == (FOLDER / "player.css").read_text(encoding="utf-8")
    for text in [json.dumps(data), shown.still(), *state.values()]:
        text = re.sub(r"[\w+/=]{200,}", "", text)  # sounds and pictures
        assert not re.search(r"https?:|//\w|@import|url\(", text)
    assert not re.search(r"\bimport\b|\bfetch\b|innerHTML|eval\(", player_script())


def test_the_page_gets_the_samples_as_16_bit_integers(three):
    matched = match_levels(three)
    shown = ABPlayer(matched)
    samples = np.frombuffer(shown.pcm, "<i2").reshape(3, -1) / 32767
    for found, track in zip(samples, matched.tracks, strict=True):
        assert np.abs(found - track.samples).max() <= 0.51 * STEP  # as in the table
    assert shown.labels == ["original", "soft", "loud"]
    assert shown.gains == [gain_text(track) for track in matched.tracks]
    assert shown.note == level_text(matched)
    assert not shown.asks
    assert not shown.can_reveal


def test_pictures_share_one_colour_scale(three):
    # without level matching "loud" is "original" and 6.02 dB, which is 0.693 nepers of 9
    matched = match_levels(three, level_match=False)
    pictures, config = mel_pictures(matched)
    assert pictures.shape == (3, 100, 64)
    assert pictures.dtype == np.uint8
    assert pictures.max() == 255
    assert pictures[2].max() == 255
    original, loud = pictures[0].astype(int), pictures[2].astype(int)
    both = (original > 0) & (loud < 255)
    # 255 * ln 2 / 9 = 19.6 levels apart; two roundings
    np.testing.assert_allclose((loud - original)[both], 255 * math.log(2) / 9, atol=1.01)
    shown = ABPlayer(matched)
    assert shown.picture == pictures.tobytes()
    assert "250 Hz" in dict(shown.ticks)
    assert all(0 < height < 1 for _, height in shown.ticks)
    assert config.n_mels == shown.n_mels == 64


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_sample_rates_have_pictures_too(rate):
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate) / 2
    shown = ABPlayer(match_levels({"tone": tone}, rate))
    picture = np.frombuffer(shown.picture, np.uint8).reshape(-1, 64)
    assert abs(len(picture) - 100) <= 1  # 10 ms hops, rounded to samples
    heights = dict(shown.ticks)
    # the loudest bin is at the label of 1000 Hz, within two bins (they are wide in Hz up there)
    assert abs((picture[50].argmax() + 0.5) / 64 - heights["1000 Hz"]) < 2.5 / 64
    assert all(float(text.split()[0]) < rate / 2 for text in heights)
    assert Table(audio_table(shown.matched)).sounds["tone"][1] == rate


def test_long_sounds_have_pictures_of_bounded_size():
    matched = match_levels({"long": np.random.default_rng(0).standard_normal(16000 * 41) / 9})
    assert mel_pictures(matched)[0].shape == (1, 2050, 64)  # 4100 frames, every second one


def test_a_blind_player_sends_no_names_gains_or_pictures_until_revealed(three):
    matched = match_levels(three).shuffled(5)
    shown = ABPlayer(matched, blind=True)
    sent = {k: v for k, v in shown.get_state().items() if k not in ("_esm", "_css")}
    assert not any(name in repr(sent) for name in ("original", "soft", "loud"))
    assert (shown.labels, shown.gains, shown.picture, shown.note) == (["A", "B", "C"], [], b"", "")
    assert shown.asks
    assert shown.can_reveal
    shown.set_state({"revealed": True})  # as the button does
    names = [f"{label}: {name}" for label, name in zip("ABC", matched.names, strict=True)]
    assert shown.labels == names
    assert shown.gains == [gain_text(track) for track in matched.tracks]
    assert shown.picture == mel_pictures(matched)[0].tobytes()
    shown.load(matched)  # hidden again
    assert (shown.labels, shown.picture, shown.revealed) == (["A", "B", "C"], b"", False)
    assert shown.version == 2


# --- preferences ----------------------------------------------------------------------------------


def test_preferences_of_two_players_go_to_one_file(three, tmp_path):
    file = tmp_path / "preferences.csv"
    matched = match_levels(three)
    first = ABPlayer(matched.shuffled(1), title='with "quotes", and comma', blind=True, csv=file)
    second = ABPlayer(matched, title="second", csv=file)
    assert second.asks
    first.set_state({"choice": {"track": 2, "rating": "4", "count": 1}})  # as the button does
    second.set_state({"choice": {"track": 0, "rating": "", "count": 1}})
    first.set_state({"revealed": True})
    first.set_state({"choice": {"track": 2, "rating": "4", "count": 2}})  # the same again
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert tuple(table.columns) == PREFERENCE_COLUMNS
    names = matched.shuffled(1).names
    assert list(table["choice"]) == [names[2], "original", names[2]]
    assert list(table["title"]) == [first.title, "second", first.title]
    assert [json.loads(order) for order in table["order"]] == [names, list(three), names]
    assert list(table["rating"]) == ["4", "", "4"]
    assert list(table["blind"]) == ["yes", "no", "no"]
    assert all(pd.Timestamp(stamp).utcoffset().total_seconds() == 0 for stamp in table["timestamp"])
    assert first.status == f"Recorded: C: {names[2]} (2 so far)"
    assert file.read_text().count("timestamp") == 1
    assert file.read_text().endswith("\n")


def test_a_preference_that_cannot_be_written_is_said_and_not_counted(three, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    shown = ABPlayer(match_levels(three), csv=other)
    shown.set_state({"choice": {"track": 0, "rating": "", "count": 1}})
    assert shown.status.startswith("Not recorded: other.csv: got a file with the columns")
    assert other.read_text() == "a,b\n1,2\n"
    assert shown.preferences == []
    shown.csv = tmp_path / "no folder" / "x.csv"
    shown.set_state({"choice": {"track": 0, "rating": "", "count": 2}})
    assert shown.status.startswith("Not recorded:")


def test_without_a_file_preferences_stay_in_memory(three):
    shown = ABPlayer(match_levels(three), blind=True)
    shown.prefer(1, "5")
    assert [row["choice"] for row in shown.preferences] == ["soft"]
    assert shown.status == "Recorded: B (1 so far)"


def test_rows_are_appended_whole_after_whatever_an_editor_left(tmp_path):
    file = tmp_path / "rows.csv"
    append_rows(file, ["a", "b"], [{"a": 1, "b": "two\nlines"}])
    file.write_text("\ufeff" + file.read_text().rstrip("\n"), encoding="utf-8")  # as Excel does
    append_rows(file, ["a", "b"], [{"a": 2, "b": "x"}, {"a": 3, "b": "y"}])
    table = pd.read_csv(file, encoding="utf-8-sig")
    assert table.to_dict("list") == {"a": [1, 2, 3], "b": ["two\nlines", "x", "y"]}


# --- the script -----------------------------------------------------------------------------------


@pytest.mark.needs("node")
@pytest.mark.process
def test_the_script_parses_and_exports_render(tmp_path):
    module = tmp_path / "player.mjs"
    shutil.copy(FOLDER / "player.js", module)
    code = f"import p from {json.dumps(module.as_uri())}; console.log(typeof p.render)"
    found = subprocess.run(
        ["node", "--input-type=module", "-e", code],
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (found.stdout.strip(), found.stderr) == ("function", "")


def test_the_script_reads_and_sets_traits_that_exist():
    script = player_script()
    used = set(re.findall(r'\b(?:get|send)\("(\w+)"', script))
    used |= set(re.findall(r'"change:(\w+)"', script))
    synced = set(ABPlayer.class_traits(sync=True))
    assert used <= synced
    assert {"pcm", "picture", "labels", "choice", "revealed", "status"} <= used


def test_the_colour_table_is_magma():
    from matplotlib import colormaps

    script = (FOLDER / "player.js").read_text(encoding="utf-8")
    table = re.search(r"const MAGMA = \[(.*?)\]", script, re.DOTALL)[1]
    found = [int(value, 16) for value in re.findall(r"0x(\w{6})", table)]
    wanted = [colormaps["magma"](i / 16, bytes=True)[:3] for i in range(17)]
    for value, rgb in zip(found, wanted, strict=True):
        # bytes=True truncates, the table is rounded
        assert np.abs(np.array([value >> 16, value >> 8 & 255, value & 255]) - rgb).max() <= 1
