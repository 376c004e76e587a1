"""Several clips through every method: the runs, their description, and the sounds to listen to.

A *candidate* is a method that makes sound from a
mel; the *references* (silence and the two oracles) are rows to compare with, never to be chosen.

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vaerecon.audio.clip import Clip
from vaerecon.audio.samples import SILENCE, normalize_level
from vaerecon.bundled import demo_clips
from vaerecon.lab.setup import demo_clip
from vaerecon.lab.tables import candidates, count, score_table
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import METHODS, select_methods
from vaerecon.metrics.scores import METRICS

if TYPE_CHECKING:
    import torch

    from vaerecon.pipeline.pipeline import ReconstructionPipeline
    from vaerecon.pipeline.result import Reconstruction

REFERENCES = ("silence", "oracle_phase", "oracle_magnitude")
WARM_UP = 8000  # samples; half a second


def load_clips(clips: str | Sequence[str], max_length: float | None = None) -> list[Clip]:
    """The clips that a notebook's parameter names; none named: all that are bundled.

    Two files of one name get different ones, since tables go by name. Errors are those of
    :func:`vaerecon.load_audio`.
    """
    named = [clips] if isinstance(clips, str) else list(clips)
    loaded: dict[str, Clip] = {}
    for name in named or list(demo_clips()):
        clip = demo_clip(str(name), max_length)
        title, k = clip.name, 1
        while title in loaded:
            title, k = f"{clip.name} ({k + 1})", k + 1
        loaded[title] = replace(clip, name=title)
    return list(loaded.values())


def run_comparison(
    pipe: ReconstructionPipeline,
    clips: Iterable[Clip],
    methods: str | Iterable[str] = "all",
    *,
    seed: int = 0,
    with_visqol: bool = False,
) -> list[Reconstruction]:
    """Every method on every clip, from the original mel and through the VAE.

    The references are always among the methods. Each method first makes half a second that is not
    timed, so that none pays for compilation or for a library's first import.

    Raises
    ------
    ValueError
        If no clip came, one is silent, or no method that makes sound from a mel was chosen.
    """
    names = select_methods(methods)
    if all(METHODS[name].reference_only for name in names):
        able = ", ".join(n for n, m in METHODS.items() if not m.reference_only)
        raise ValueError(
            f"methods: got {', '.join(names)}, which only serve to compare with, "
            f"expected at least one of {able}"
        )
    clips = list(clips)
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
    """What was run, for people: clips, model, methods; Markdown."""
    model, first = results[0].model, results[0]
    clips = ", ".join(f"**{r.clip.name}** ({r.clip.duration:.1f} s)" for r in results)
    names = ", ".join(METHODS[n].label for n in candidates(score_table(results)))
    source = model.variant if model.source == model.variant else f"{model.variant}, {model.source}"
    return (
        f"{count(len(results), 'clip')}: {clips}. Model: {source}, with "
        f"{model.vae_parameters / 1e6:.2f} million parameters in the VAE and "
        f"{model.vocoder_parameters / 1e6:.2f} million in the vocoder, on {model.device} in "
        f"{model.dtype}, seed {first.seed}. Methods: {names}. To compare with: "
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
