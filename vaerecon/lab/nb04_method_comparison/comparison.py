"""Notebook 04: clips through every method of one or several models; an explorer of the scores."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import SILENCE, normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.comparison.sources import name_models
from vaerecon.lab.figures import figure_html
from vaerecon.lab.nb04_method_comparison.plots import plot_clips
from vaerecon.lab.setup import demo_clip
from vaerecon.lab.tables import by_model, count, score_table, scored_metrics
from vaerecon.lab.widgets import Explorer, YourClip, picture, row
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS, select_methods
from vaerecon.metrics.scores import METRICS
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.result import Reconstruction

REFERENCES = ("silence", "oracle_phase", "oracle_magnitude")
WARM_UP = 8000  # samples; half a second
SOURCES = {"both": (True, False), "through the VAE": (True,), "from the original mel": (False,)}
QUICK = ("vocoder", "griffinlim", "hybrid", "admm")  # an added clip does not wait for librosa


def load_clips(clips: str | Sequence[str], max_length: float | None = None) -> list[Clip]:
    """The clips that a notebook's parameter names; none named: all that are bundled.

    Two files of one name get different ones, since tables go by name.
    """
    named = [clips] if isinstance(clips, str) else clips
    loaded: dict[str, Clip] = {}
    for name in named or demo_clips():
        clip = demo_clip(str(name), max_length)
        title, k = clip.name, 1
        while title in loaded:
            title, k = f"{clip.name} ({k + 1})", k + 1
        loaded[title] = replace(clip, name=title)
    return list(loaded.values())


def run_models(
    models: Iterable[str],
    clips: Sequence[Clip],
    methods: str | Iterable[str] = "all",
    **options: Any,
) -> tuple[ReconstructionPipeline, list[Reconstruction]]:
    """:func:`run_comparison` with one model after another; the last one, and all results.

    Memory is that of the largest model. Of several, two folders of one name are told apart by more
    of their paths.
    """
    names = name_models(models)
    results: list[Reconstruction] = []
    pipe: Any = None
    for source, name in names.items():
        pipe = None  # the one before goes first
        pipe = ReconstructionPipeline.from_pretrained(source)
        pipe.set_progress_bar_config(disable=True)
        if len(names) > 1:
            pipe.source = name
        results += run_comparison(pipe, clips, methods, **options)
    return pipe, results


def run_comparison(
    pipe: ReconstructionPipeline,
    clips: Sequence[Clip],
    methods: str | Iterable[str] = "all",
    *,
    seed: int = 0,
    with_visqol: bool = False,
) -> list[Reconstruction]:
    """Every method, and the references, on every clip, from the original mel and through the VAE.

    Each method first makes half a second that is not timed, so that none pays for compilation or
    for a library's first import. No clip, a silent one, or no method that makes sound from a mel is
    a ValueError.
    """
    names = select_methods(methods)
    if all(METHODS[name].reference_only for name in names):
        able = ", ".join(n for n, m in METHODS.items() if not m.reference_only)
        raise ValueError(
            f"methods: got {', '.join(names)}, which only serve to compare with, "
            f"expected at least one of {able}"
        )
    if not clips:
        raise ValueError("clips: got none, expected at least one")
    silent = [clip.name for clip in clips if np.ptp(clip.samples) <= 2 * SILENCE]
    if silent:
        raise ValueError(
            f"clips: got only silence in {', '.join(silent)}, which no metric can score, "
            "expected sound; leave it out, or read more of it"
        )
    chosen = dict.fromkeys([*(n for n in names if n not in REFERENCES), *REFERENCES])
    start, _ = normalize_level(clips[0].samples[:WARM_UP])
    mel = log_mel(start, normalize=False)
    for name in chosen:
        pipe.synthesize(mel, name, n_samples=len(start), original=start)
    exclude = () if with_visqol else [m.name for m in METRICS.values() if m.slow]
    return [pipe(clip, chosen, seed=seed, exclude_metrics=exclude) for clip in clips]


def describe_run(results: Sequence[Reconstruction]) -> str:
    """What was run, for people: clips, models, methods; Markdown."""
    groups = list(by_model(results).values())
    clips = ", ".join(f"**{r.clip.name}** ({r.clip.duration:.1f} s)" for r in groups[0])
    able = [n for n in results[0].methods if not METHODS[n].reference_only]
    models = [
        f"{', '.join(dict.fromkeys([model.variant, model.source]))}, with "
        f"{model.vae_parameters / 1e6:.2f} million parameters in the VAE and "
        f"{model.vocoder_parameters / 1e6:.2f} million in the vocoder, on {model.device} in "
        f"{model.dtype}"
        for model in [group[0].model for group in groups]
    ]
    if len(groups) > 1:
        errors = [np.mean([r.vae_mae for r in group]) for group in groups]
        models = [f"{m}, VAE error {e:.3f} nepers" for m, e in zip(models, errors, strict=True)]
    return (
        f"{count(len(groups[0]), 'clip')}: {clips}. Model{'s' * (len(models) > 1)}: "
        f"{'; '.join(models)}, seed {results[0].seed}. "
        f"Methods: {', '.join(METHODS[n].label for n in able)}. To compare with: "
        f"{', '.join(METHODS[n].label.lower() for n in REFERENCES)}."
    )


def listening_set(result: Reconstruction) -> dict[str, torch.Tensor]:
    """Label -> samples ``[N]`` to switch between: the original, every candidate through the VAE,
    and the ceiling, which has the original's phase too."""
    sounds = {"original": result.reference}
    for name, found in result.methods.items():
        if not METHODS[name].reference_only:
            sounds[METHODS[name].label] = found.samples
    if "griffinlim" in result.without_vae:
        sounds["Griffin-Lim, no VAE"] = result.without_vae["griffinlim"].samples
    sounds["Oracle phase, no VAE"] = result.without_vae["oracle_phase"].samples
    return sounds


def explorer_comparison(
    pipe: ReconstructionPipeline,
    results: Sequence[Reconstruction],
    *,
    max_length: float = 4.0,
    seed: int = 0,
) -> Explorer:
    """Choose a metric and a source; add a clip of one's own, which is run by the quick methods.

    ``results`` stays as it is: what is added is kept in the explorer. Of several models only
    ``pipe`` runs the clip.
    """
    table, known = score_table(results), list(results)
    able = [n for n in results[0].methods if not METHODS[n].reference_only]
    able = [n for n in QUICK if n in able] or able
    options = [(METRICS[m].label, m) for m in scored_metrics(table)]
    metric = widgets.Dropdown(options=options, value=options[-1][1], description="metric")
    source = widgets.ToggleButtons(
        options=list(SOURCES), description="source", style={"button_width": "auto"}
    )
    own = YourClip("Add a clip", longest=max_length)
    image, note = picture(), widgets.HTML()

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
