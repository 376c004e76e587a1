"""A/B player: level-matched sounds, instant switching at the same playhead, optionally blind.

:func:`play` shows the player as HTML that contains sounds, script and style: it needs no kernel and
no network, and a notebook that was saved and reopened still plays. Where no scripts run, it is a
table of ``<audio>`` elements. With a file for preferences, and in listening tests and explorers,
the player is a widget (:class:`ABPlayer`).

In blind mode the tracks are shuffled and called A, B, C; gains and pictures are hidden, and the
names appear when "Reveal names" is pressed (a widget's stay in Python until then; an output's can
be found in the notebook file). Preferences are appended to a CSV file:

========= =========================================================================================
column    meaning
========= =========================================================================================
timestamp when it was pressed, UTC, ISO 8601
title     of the player
order     names of the tracks in the order shown (A, B, C, ... if blind), a JSON list
choice    name of the preferred track
rating    1 to 5, or empty
blind     yes, if the names had not been revealed; else no
========= =========================================================================================
"""

import base64
import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from IPython.display import display

from vaerecon.audio.samples import ArrayLike
from vaerecon.lab.listening.levels import (
    Matched,
    audio_table,
    blind_labels,
    gain_text,
    level_text,
    loudness_text,
    match_levels,
    pcm16,
)
from vaerecon.lab.listening.statistics import append_rows
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel
from vaerecon.plots import RANGE_NEPERS, TICKS_HZ, mel_bin

FOLDER = Path(__file__).parent
PICTURE_FRAMES = 4000  # mel frames drawn of a track at most; 40 s, then every second one, ...
PREFERENCE_COLUMNS = ("timestamp", "title", "order", "choice", "rating", "blind")
HIDDEN: dict[str, Any] = {"gains": [], "lufs": [], "note": "", "ticks": [], "picture": b""}


def mel_pictures(matched: Matched) -> tuple[np.ndarray, MelConfig]:
    """Log-mels of the tracks as played, and their front-end: AudioLDM2's at the sample rate.

    They are uint8 ``[tracks, T, M]`` on one scale: 255 is the loudest value, 0 is 9 nepers below.
    """
    rate = matched.sample_rate
    n_fft = round(AUDIOLDM_MEL.n_fft * rate / AUDIOLDM_MEL.sample_rate / 2) * 2
    sizes = {"n_fft": n_fft, "win_length": n_fft, "hop_length": rate // 100}
    fmax = min(AUDIOLDM_MEL.fmax, rate / 2)
    config = replace(AUDIOLDM_MEL, sample_rate=rate, fmax=fmax, **sizes)
    mels = [log_mel(track.samples, config, normalize=False).numpy() for track in matched.tracks]
    step = math.ceil(len(mels[0]) / PICTURE_FRAMES)
    levels = np.stack([mel[::step] for mel in mels])
    scaled = 255 * (1 + (levels - levels.max()) / RANGE_NEPERS)
    return np.round(scaled.clip(0, 255)).astype(np.uint8), config


def _shown(matched: Matched) -> dict[str, Any]:
    """What a player shows of its tracks, by trait of :class:`ABPlayer`."""
    pictures, config = mel_pictures(matched)
    hz = np.array([f for f in TICKS_HZ if f < config.fmax])
    heights = (mel_bin(hz, config) + 0.5) / config.n_mels
    return {
        "labels": matched.names,
        "n_mels": config.n_mels,
        "ticks": [[f"{f} Hz", float(y)] for f, y in zip(hz, heights, strict=True)],
        "gains": [gain_text(track) for track in matched.tracks],
        "lufs": [loudness_text(track) for track in matched.tracks],
        "note": level_text(matched),
        "picture": pictures.tobytes(),
    }


def _revealed(matched: Matched, labels: Sequence[str]) -> dict[str, Any]:
    """What a blind player shows when the names are revealed."""
    both = zip(labels, matched.names, strict=True)
    return _shown(matched) | {"labels": [f"{label}: {name}" for label, name in both]}


def player_script() -> str:
    """The player's script for a page; its hash allows it in a Content-Security-Policy."""
    return "\n".join((FOLDER / name).read_text("utf-8") for name in ("player.js", "page.js"))


@cache
def player_code() -> str:
    """Style and script, the same in the HTML of every player; a page needs them once."""
    css = (FOLDER / "player.css").read_text("utf-8")
    return f'<style>{css}</style><script type="module">{player_script()}</script>'


def player_html(matched: Matched, *, title: str = "", blind: bool = False) -> str:
    """The player as HTML: its table of sounds, and the script that makes a player of it."""
    state: dict[str, Any] = {"title": title, "sample_rate": matched.sample_rate}
    state |= {"samples": len(matched.tracks[0].samples), "can_reveal": blind}
    if blind:
        labels = blind_labels(len(matched.tracks))
        answer = _revealed(matched, labels)
        state |= answer | HIDDEN | {"labels": labels, "answer": answer}
    else:
        state |= _shown(matched)
    data = html.escape(json.dumps(state, default=lambda x: base64.b64encode(x).decode("ascii")))
    table = audio_table(matched, title=title, blind=blind)
    return f'<div data-vaerecon-player="{data}">{table}</div>{player_code()}'


class Lasting(ipywidgets.DOMWidget):
    """A widget that leaves its sounds and pictures in the notebook, by :meth:`still`.

    Notebooks are saved without their widgets. So a second output is below the widget, hidden by
    style while the widget is there.
    """

    _below: Any = None  # that output, once it is shown

    def still(self) -> str:
        """What stays, as HTML."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        self.add_class(f"vaerecon-{self.model_id}")
        bundle: Any = self._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        display(data | {"text/plain": self._text()}, raw=True)
        self._below = display(self._kept(), raw=True, display_id=True)

    def _text(self) -> str:
        """What a front-end shows that knows no widgets."""
        return "(a widget)"

    def keep(self) -> None:
        """Let :meth:`still` of now stay, not that of when the widget was shown."""
        if self._below is not None:
            self._below.update(self._kept(), raw=True)

    def _kept(self) -> dict[str, str]:
        mark = f"vaerecon-{self.model_id}"
        rule = f"<style>body:has(.{mark}) .{mark}-still {{ display: none; }}</style>"
        text = f'<div class="{mark}-still">{self.still()}</div>{rule}'
        return {"text/html": text, "text/plain": "(the widget, as it was)"}


class ABPlayer(Lasting, anywidget.AnyWidget):
    """The player as a widget: tracks from :func:`match_levels`, in the order shown.

    ``title``, ``blind`` and ``csv`` are those of :func:`play`; without a file, preferences are only
    in :attr:`preferences`. One ``in_test`` has no buttons "Prefer" and "Reveal names".
    """

    _esm = FOLDER / "player.js"
    _css = FOLDER / "player.css"

    title = traitlets.Unicode().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # as shown, one a track
    gains = traitlets.List(traitlets.Unicode()).tag(sync=True)  # as shown; none while blind
    lufs = traitlets.List(traitlets.Unicode()).tag(sync=True)  # as played; none while blind
    note = traitlets.Unicode().tag(sync=True)  # how the levels were set
    sample_rate = traitlets.Int(16000).tag(sync=True)  # Hz
    pcm = traitlets.Bytes().tag(sync=True)  # int16, the tracks one after the other
    picture = traitlets.Bytes().tag(sync=True)  # uint8 [tracks, T, M]; empty while blind
    n_mels = traitlets.Int(64).tag(sync=True)
    ticks: traitlets.List = traitlets.List().tag(sync=True)  # [text, height 0..1] in frequency
    version = traitlets.Int(0).tag(sync=True)  # counts the calls of load
    asks = traitlets.Bool(False).tag(sync=True)
    can_reveal = traitlets.Bool(False).tag(sync=True)
    revealed = traitlets.Bool(False).tag(sync=True)  # set by the button
    choice = traitlets.Dict().tag(sync=True)  # set by the button: track (index), rating, count
    status = traitlets.Unicode().tag(sync=True)  # one line: a confirmation or an error

    def __init__(
        self,
        matched: Matched,
        *,
        title: str = "",
        blind: bool = False,
        csv: str | os.PathLike[str] | None = None,
        in_test: bool = False,
    ) -> None:
        asks, can_reveal = (blind or csv is not None) and not in_test, blind and not in_test
        super().__init__(title=title, asks=asks, can_reveal=can_reveal)
        self.blind, self.csv = blind, csv
        self.preferences: list[dict[str, str]] = []  # rows as in the CSV file
        self.load(matched)

    def load(self, matched: Matched, labels: Sequence[str] | None = None) -> None:
        """Show other tracks, from the start; a blind player calls them ``labels`` or A, B, C."""
        self.matched = matched
        shown = HIDDEN | {"labels": list(labels or blind_labels(len(matched.tracks)))}
        if not self.blind:
            shown = _shown(matched)
        with self.hold_sync():
            self.revealed = False
            self.sample_rate = matched.sample_rate
            self.pcm = b"".join(pcm16(track.samples).tobytes() for track in matched.tracks)
            self._show(shown)
            self.version += 1

    def _show(self, shown: dict[str, Any]) -> None:
        with self.hold_sync():
            for name, value in shown.items():
                setattr(self, name, value)

    @traitlets.observe("revealed")
    def _on_reveal(self, change: Mapping[str, Any]) -> None:
        if change["new"] and self.blind:
            self._show(_revealed(self.matched, self.labels))

    @traitlets.observe("choice")
    def _on_choice(self, change: Mapping[str, Any]) -> None:
        try:
            self.prefer(int(change["new"]["track"]), str(change["new"].get("rating", "")))
        except (OSError, ValueError) as error:
            self.status = f"Not recorded: {error}"

    def prefer(self, track: int, rating: str = "") -> None:
        """Record a preference for the track at a position (0 is the first one shown)."""
        names = self.matched.names
        row = {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "title": self.title,
            "order": json.dumps(names, ensure_ascii=False),
            "choice": names[track],
            "rating": rating,
            "blind": "yes" if self.blind and not self.revealed else "no",
        }
        if self.csv is not None:
            append_rows(self.csv, PREFERENCE_COLUMNS, [row])
        self.preferences.append(row)
        self.status = f"Recorded: {self.labels[track]} ({len(self.preferences)} so far)"

    def still(self) -> str:
        """The player without a kernel."""
        return player_html(self.matched, title=self.title, blind=self.blind)

    def _text(self) -> str:
        return f"Sound player: {', '.join(self.labels)}"


def play(
    tracks: Mapping[str, ArrayLike],
    sample_rate: int = 16000,
    *,
    title: str = "",
    blind: bool = False,
    csv: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    **levels: Any,
) -> None:
    """Show an A/B player of several sounds below the cell.

    Parameters
    ----------
    tracks, sample_rate, levels
        As for :func:`match_levels`, with its errors: ``reference``, ``level_match``, ``measure``.
    title
        Shown above the player, and recorded.
    blind
        Shuffle the tracks, call them A, B, C, and hide gains and pictures until revealed.
    csv
        File that preferences are appended to (module docstring). Offers the "Prefer" button.
    seed
        Of the blind order; None draws a new one each time.
    """
    if blind:
        levels["max_drop"] = math.inf
    matched = match_levels(tracks, sample_rate, **levels)
    if blind:
        matched = matched.shuffled(seed)
    if csv is not None:  # preferences are written by Python
        display(ABPlayer(matched, title=title, blind=blind, csv=csv))
        return
    text = f"Sound player: {', '.join(blind_labels(len(tracks)) if blind else matched.names)}"
    page = player_html(matched, title=title, blind=blind)
    display({"text/html": page, "text/plain": text}, raw=True)
