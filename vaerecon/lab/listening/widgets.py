"""Blind listening tests as widgets on the A/B player.

Statistics, and the columns of the CSV files, are in :mod:`vaerecon.lab.listening.statistics`.
"""

import html
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import ipywidgets

from vaerecon.audio.samples import ArrayLike
from vaerecon.lab.listening import statistics
from vaerecon.lab.listening.levels import Matched, audio_table, blind_labels, match_levels
from vaerecon.lab.listening.player import ABPlayer, Lasting

WORDS = ", ".join(f"{20 * i}-{20 * i + 20} {x}" for i, x in enumerate(statistics.WORDS))
GUIDE = (
    "Rate every sound against the reference by moving its slider. One of them is the reference "
    f"itself. {WORDS}."
)


class _ListeningTest(Lasting, ipywidgets.VBox):
    """Base of both tests: a heading, a player, a status line, results in a file."""

    player: ABPlayer
    matched: Matched  # the sounds, in an order that tells nothing of the test's

    def __init__(
        self,
        title: str,
        listener: str = "anonymous",
        csv: str | os.PathLike[str] | None = None,
        seed: int | None = None,
    ) -> None:
        self.title, self.listener, self.csv = title, listener, csv
        self.seed = secrets.randbits(31) if seed is None else seed
        self.heading, self.news = ipywidgets.HTML(), ipywidgets.HTML()
        super().__init__()

    def _tell(self, heading: str, done: str) -> None:
        self.heading.value = f"<b>{html.escape(f'{self.title}, {heading}')}</b>"
        self.done = done  # how much of the test is answered

    def _record(self, columns: Sequence[str], rows: list[dict[str, Any]]) -> bool:
        """Append rows; on failure show it and change nothing, so that a new attempt is possible."""
        timestamp = datetime.now(UTC).isoformat(timespec="seconds")
        shared = {"timestamp": timestamp, "listener": self.listener, "seed": self.seed}
        try:
            if self.csv is not None:
                statistics.append_rows(self.csv, columns, [shared | row for row in rows])
        except (OSError, ValueError) as error:
            self.news.value = html.escape(f"Not recorded: {error}")
            return False
        return True

    def still(self) -> str:
        """How far the test is, or its result; and its sounds with their names."""
        result = self.news.value or "To listen, run the cell again."
        return (
            f"<p><b>{html.escape(self.title)}</b>: {self.done}. {result} Its sounds:</p>"
            + audio_table(self.matched, title=self.title)
        )


class AbxTest(_ListeningTest):
    """An ABX test of two sounds, as a widget; :attr:`score` is set after the last trial.

    ``tracks`` are two: name -> ``[N]`` samples. The first is A; B gets its level. ``n_trials`` is
    fixed beforehand: stopping at a good result makes p-values too small. With 16, 12 correct
    answers give p = 0.038. ``recorded`` are the ``listener``, the ``csv`` file that the result is
    appended to, and the ``seed`` of the order, which is drawn if there is none.
    """

    def __init__(
        self,
        tracks: Mapping[str, ArrayLike],
        sample_rate: int = 16000,
        *,
        n_trials: int = 16,
        title: str = "",
        **recorded: Any,
    ) -> None:
        if not isinstance(tracks, Mapping) or len(tracks) != 2:
            got = list(tracks) if isinstance(tracks, Mapping) else type(tracks).__name__
            raise ValueError(
                f"tracks: got {got}, expected two to compare, by name: {{'A': a, 'B': b}}"
            )
        super().__init__(title or " / ".join(tracks), **recorded)
        self.matched = match_levels(tracks, sample_rate, max_drop=math.inf)
        self.order = statistics.abx_order(n_trials, self.seed)
        self.answers = ""
        self.score: statistics.AbxScore | None = None
        self.player = ABPlayer(self.matched, blind=True, in_test=True)
        self.buttons = [ipywidgets.Button(description=f"X is {name}") for name in "AB"]
        for name, button in zip("AB", self.buttons, strict=True):
            button.on_click(lambda _, name=name: self.answer(name))
        self.children = [self.heading, self.player, ipywidgets.HBox(self.buttons), self.news]
        self._show()

    def _show(self) -> None:
        trial, (a, b) = len(self.answers), self.matched.names
        x = a if self.order[trial] == "A" else b
        self.player.load(self.matched.in_order([a, b, x]), ["A", "B", "X"])
        n = len(self.order)
        heading = f"trial {trial + 1} of {n}: is X the same as A or B?"
        self._tell(heading, f"{trial} of {n} trials answered")

    def answer(self, said: str) -> None:
        """Answer the trial with ``"A"`` or ``"B"``; the last answer shows the result."""
        if said not in ("A", "B"):
            raise ValueError(f"answer: got {said!r}, expected 'A' or 'B'")
        if self.score is not None:
            return
        answers = self.answers + said
        if len(answers) == len(self.order):
            self._finish(answers)
        else:
            self.answers = answers
            self._show()
        self.keep()

    def _finish(self, answers: str) -> None:
        a, b = self.matched.names
        row = {"title": self.title, "a": a, "b": b, "order": self.order, "answers": answers}
        if not self._record(statistics.ABX_COLUMNS, [row]):
            return
        self.answers, self.score = answers, statistics.abx_score(self.order, answers)
        for button in self.buttons:
            button.disabled = True
        s = self.score
        self._tell("finished", f"{s.trials} of {s.trials} trials answered")
        self.news.value = html.escape(
            f"{s.correct} of {s.trials} right ({s.proportion:.0%}; 95 % interval {s.low:.0%} to "
            f"{s.high:.0%}); by guessing as many or more: p = {s.p_value:.3g}. "
            f"A was {a}, B was {b}."
        )


class MushraTest(_ListeningTest):
    """A MUSHRA-like test, one page per item, as a widget; :attr:`ratings` has those recorded.

    ``items`` are item name -> tracks (name -> ``[N]`` samples), each with the ``reference`` among
    them; ratings are appended to ``csv`` item by item. The others are those of :class:`AbxTest`.
    """

    def __init__(
        self,
        items: Mapping[str, Mapping[str, ArrayLike]],
        sample_rate: int = 16000,
        *,
        reference: str = "original",
        title: str = "Listening test",
        **recorded: Any,
    ) -> None:
        if not isinstance(items, Mapping) or not items:
            got = "none" if isinstance(items, Mapping) else type(items).__name__
            raise ValueError(f"items: got {got}, expected at least one, name -> tracks")
        super().__init__(title, **recorded)
        self.items = {
            name: statistics.mushra_conditions(tracks, reference, sample_rate)
            for name, tracks in items.items()
        }
        # the pages have the numbers 0, 1, ...; the next one orders the pages themselves
        self.item_order = statistics.mushra_order(list(items), len(items), self.seed)
        self.ratings: list[dict[str, Any]] = []
        self.page = 0
        self.player = ABPlayer(self.items[self.item], blind=True, in_test=True)
        self.scale = ipywidgets.VBox()
        self.button = ipywidgets.Button(description="Record and go on")
        self.button.on_click(lambda _: self.submit())
        guide = ipywidgets.HTML(GUIDE)
        self.children = [self.heading, self.player, guide, self.scale, self.button, self.news]
        self._show()

    @property
    def item(self) -> str:
        """Name of the item on the page."""
        return self.item_order[self.page]

    def _show(self) -> None:
        self.matched = self.items[self.item]
        self.order = statistics.mushra_order(self.matched.names, self.page, self.seed)
        labels = blind_labels(len(self.order))
        shown = self.matched.in_order([statistics.HIDDEN_REFERENCE, *self.order])
        self.player.load(shown, ["Reference", *labels])
        self.moved: set[str] = set()
        self.sliders: dict[str, ipywidgets.IntSlider] = {
            label: ipywidgets.IntSlider(50, 0, 100, description=label, layout={"width": "30em"})
            for label in labels
        }
        for label, slider in self.sliders.items():
            slider.observe(lambda _, label=label: self.moved.add(label), names="value")
        self.scale.children = list(self.sliders.values())
        n = len(self.item_order)
        self._tell(f"item {self.page + 1} of {n}: {self.item}", f"{self.page} of {n} items rated")

    def submit(self) -> None:
        """Record the sliders of this item and show the next; all must have been moved."""
        if self.page >= len(self.item_order):
            return
        left = [label for label in self.sliders if label not in self.moved]
        if left:
            self.news.value = f"Not rated yet: {', '.join(left)}"
            return
        rows = [
            {"item": self.item, "condition": name, "label": label, "score": slider.value}
            for name, (label, slider) in zip(self.order, self.sliders.items(), strict=True)
        ]
        if not self._record(statistics.MUSHRA_COLUMNS, rows):
            return
        self.ratings += rows
        self.page += 1
        if self.page < len(self.item_order):
            self.news.value = ""
            self._show()
        else:
            for control in (self.button, *self.sliders.values()):
                control.disabled = True
            self.done = f"{self.page} of {self.page} items rated"
            self.news.value = "Finished. Thank you."
        self.keep()
