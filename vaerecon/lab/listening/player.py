"""A/B player: level-matched sounds, instant switching at the same playhead, optionally blind.

:func:`play` shows the player in JupyterLab; where no widgets run (papermill's and nbconvert's HTML)
the same output is a table of ``<audio>`` elements. Sounds, script and style are in the output.
(nbconvert prefers the widget, and a script from the network, if the notebook has widget states:
execute with ``store_widget_state=False`` for a page without network.)

In blind mode the tracks are shuffled and called A, B, C; gains and pictures are hidden, and the
names stay in Python until "Reveal names" is pressed. Preferences are appended to a CSV file:

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

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from vaerecon.audio.samples import ArrayLike
from vaerecon.lab.listening.levels import (
    Matched,
    append_rows,
    audio_table,
    blind_labels,
    gain_text,
    level_text,
    match_levels,
    pcm16,
)
from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.mel.front_end import log_mel
from vaerecon.plots import RANGE_NEPERS, TICKS_HZ, mel_bin

PICTURE_FRAMES = 4000  # mel frames drawn of a track at most; 40 s, then every second one, ...
PREFERENCE_COLUMNS = ("timestamp", "title", "order", "choice", "rating", "blind")


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


class ABPlayer(anywidget.AnyWidget):
    """The player as a widget; :func:`play` makes one and shows it.

    Parameters
    ----------
    matched
        Tracks from :func:`match_levels`, in the order shown.
    title, blind, csv
        As for :func:`play`; without a file, preferences are only in :attr:`preferences`.
    in_test
        Within a listening test: without the buttons "Prefer" and "Reveal names".
    """

    _esm = Path(__file__).parent / "player.js"
    _css = Path(__file__).parent / "player.css"

    title = traitlets.Unicode().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)  # as shown, one a track
    gains = traitlets.List(traitlets.Unicode()).tag(sync=True)  # as shown; none while blind
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
        with self.hold_sync():
            self.revealed = False
            self.sample_rate = matched.sample_rate
            self.pcm = b"".join(pcm16(track.samples).tobytes() for track in matched.tracks)
            if self.blind:
                self.labels = list(labels or blind_labels(len(matched.tracks)))
                self.gains, self.note, self.picture = [], "", b""
            else:
                self._show_names(matched.names)
            self.version += 1

    def _show_names(self, labels: list[str]) -> None:
        pictures, config = mel_pictures(self.matched)
        hz = np.array([f for f in TICKS_HZ if f < config.fmax])
        heights = (mel_bin(hz, config) + 0.5) / config.n_mels
        self.n_mels = config.n_mels
        self.ticks = [[f"{f} Hz", float(y)] for f, y in zip(hz, heights, strict=True)]
        self.gains = [gain_text(track) for track in self.matched.tracks]
        self.note = level_text(self.matched)
        self.labels = labels
        self.picture = pictures.tobytes()

    @traitlets.observe("revealed")
    def _on_reveal(self, change: Mapping[str, Any]) -> None:
        if change["new"] and self.blind:
            both = zip(self.labels, self.matched.names, strict=True)
            with self.hold_sync():
                self._show_names([f"{label}: {name}" for label, name in both])

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

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and a table for pages without widgets."""
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle
        data["text/plain"] = f"Sound player: {', '.join(self.labels)}"
        data["text/html"] = audio_table(self.matched, title=self.title, blind=self.blind)
        return data, metadata


def play(
    tracks: Mapping[str, ArrayLike],
    sample_rate: int = 16000,
    *,
    reference: str | None = None,
    title: str = "",
    blind: bool = False,
    csv: str | os.PathLike[str] | None = None,
    level_match: bool = True,
    seed: int | None = None,
) -> None:
    """Show an A/B player of several sounds below the cell.

    Parameters
    ----------
    tracks, sample_rate, reference, level_match
        As for :func:`match_levels`, with its errors.
    title
        Shown above the player, and recorded.
    blind
        Shuffle the tracks, call them A, B, C, and hide gains and pictures until revealed.
    csv
        File that preferences are appended to (module docstring). Offers the "Prefer" button.
    seed
        Of the blind order; None draws a new one each time.
    """
    from IPython.display import display

    matched = match_levels(tracks, sample_rate, reference=reference, level_match=level_match)
    if blind:
        matched = matched.shuffled(seed)
    display(ABPlayer(matched, title=title, blind=blind, csv=csv))
