"""A widget around the comparison: one metric clip by clip, and clips of one's own beside it.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vaerecon.lab.figures import figure_html
from vaerecon.lab.nb04_method_comparison.comparison import run_comparison
from vaerecon.lab.nb04_method_comparison.plots import plot_clips
from vaerecon.lab.tables import candidates, score_table, scored_metrics
from vaerecon.lab.widgets import Explorer, YourClip, picture, row
from vaerecon.metrics.scores import METRICS

if TYPE_CHECKING:
    from vaerecon.pipeline.pipeline import ReconstructionPipeline
    from vaerecon.pipeline.result import Reconstruction

SOURCES = {"both": (True, False), "through the VAE": (True,), "from the original mel": (False,)}
UPLOADED = ("vocoder", "griffinlim", "hybrid", "admm")  # an upload should not wait for librosa


def explorer_comparison(
    pipe: ReconstructionPipeline,
    results: Sequence[Reconstruction],
    *,
    max_length: float = 4.0,
    seed: int = 0,
) -> Explorer:
    """Choose a metric and a source; add a clip of one's own, which is run by the quick methods.

    ``results`` stays as it is: what is added lives in the explorer.
    """
    import ipywidgets as w

    table = score_table(results)
    known, quick = list(results), [n for n in UPLOADED if n in candidates(table)]
    able = quick or candidates(table)  # whatever the notebook ran
    options = [(METRICS[m].label, m) for m in scored_metrics(table)]
    metric = w.Dropdown(options=options, value=scored_metrics(table)[-1], description="metric")
    source = w.ToggleButtons(
        options=list(SOURCES), description="source", style={"button_width": "auto"}
    )
    own = YourClip("Add a clip", longest=max_length)
    image, note = picture(), w.HTML()

    def redraw(_: Any = None) -> None:
        figure, _ax = plot_clips(score_table(known), metric.value, SOURCES[source.value])
        image.value = figure_html(figure)

    def add(_: Any) -> None:
        note.value = "working ..."
        try:
            clip = own.clip(max_length)
            if clip is None:
                note.value = ""
                return
            while clip.name in {r.clip.name for r in known}:
                clip = replace(clip, name=f"{clip.name} (again)")
            known.extend(run_comparison(pipe, [clip], able, seed=seed))
            redraw()
            note.value = f"added, {clip.duration:.1f} s: {html.escape(clip.name)}"
        except (ValueError, OSError, RuntimeError) as error:
            note.value = f"<b>Not added.</b> {html.escape(str(error))}"

    metric.observe(redraw, "value")
    source.observe(redraw, "value")
    own.observe(add, "given")
    redraw()
    return Explorer([row(metric, own), note, source, image])
