"""How far a set of sounds is from another, by embeddings: latents of the VAE, or CLAP.

``latent`` takes each frame of the VAE's latent means (8 x 16 values, every 40 ms) as one embedding:
offline, and near to what the VAE hears; not the Frechet audio distance of papers. ``clap:ID`` takes
CLAP's embedding of each stretch of 10 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


def check_sets(sets: str | Iterable[str]) -> list[tuple[str, str]]:
    """``"latent,clap:owner/name"`` as pairs of a kind and a model; a ValueError for another."""
    found = []
    for item in filter(None, sets.split(",") if isinstance(sets, str) else sets):
        kind, _, source = item.strip().partition(":")
        if kind not in ("latent", "clap") or (kind == "clap" and not source):
            raise ValueError(
                f"sets: got {item!r}, expected 'latent', 'latent:MODEL' or 'clap:owner/name'"
            )
        found.append((kind, source or "tiny"))
    return found


class SetDistances:
    """Frechet and kernel distance by one embedding, whose model is loaded."""

    def __init__(self, spec: tuple[str, str]):
        self.kind, self.model = spec
        self._embed = (_latents if self.kind == "latent" else _clap)(self.model)

    def __call__(self, references: list[str], estimates: list[str]) -> dict[str, Any]:
        """Of the sounds in two lists of files.

        Returns
        -------
        dict
            ``<kind>_frechet`` and ``<kind>_kernel`` (None, with its reason in ``notes``, where
            there is no value), ``kind``, ``model``, ``dimensions``, and of both sets ``clips`` and
            ``embeddings``. Clips that cannot be read are left out.
        """
        from vaerecon.metrics.sets import frechet_distance, kernel_distance
        from vaerecon.metrics.signals import UndefinedScore

        found = [list(_embedded(files, self._embed)) for files in (references, estimates)]
        sets = [np.concatenate(one or [np.zeros((0, 1))]) for one in found]
        result: dict[str, Any] = {
            "kind": self.kind, "model": self.model, "clips": [len(one) for one in found],
            "embeddings": [len(one) for one in sets], "dimensions": sets[0].shape[1], "notes": {},
        }  # fmt: skip
        for key, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
            name = f"{self.kind}_{key}"
            try:
                result[name] = distance(*sets)
            except UndefinedScore as reason:
                result[name], result["notes"][name] = None, str(reason)
        return result


def _embedded(files: list[str], embed: Callable[[str], np.ndarray]) -> Iterator[np.ndarray]:
    for file in files:
        try:
            yield embed(file)
        except (ValueError, OSError):
            continue  # the clip's row of the table says why


def _latents(source: str) -> Callable[[str], np.ndarray]:
    from vaerecon.audio.clip import load_audio
    from vaerecon.mel.front_end import log_mel
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

    pipe = ReconstructionPipeline.from_pretrained(source)

    def embed(file: str) -> np.ndarray:
        latent = pipe.encode(log_mel(load_audio(file).samples)).cpu()  # [8, T/4, 16]
        found: np.ndarray = latent.permute(1, 0, 2).flatten(1).numpy()  # [T/4, 128]
        return found

    return embed


def _clap(source: str) -> Callable[[str], np.ndarray]:
    from vaerecon.audio.clip import load_audio
    from vaerecon.models.clap import embed_sound, load_clap

    model, extractor = load_clap(source)

    def embed(file: str) -> np.ndarray:
        samples = load_audio(file, sample_rate=extractor.sampling_rate).samples
        return np.stack(list(embed_sound(model, extractor, samples)))

    return embed
