"""CLAP: what a sound is, as a vector; for distances of sets.

References
----------
.. [1] Y. Wu et al., "Large-scale contrastive language-audio pretraining", ICASSP 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaerecon.models.hub import hub_errors

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


def load_clap(source: str) -> tuple[Any, Any]:
    """A ``ClapModel`` and its feature extractor, of a folder or ``owner/name[@revision]``.

    Raises
    ------
    ValueError, OSError
        If there is none, it is no CLAP, or it cannot be downloaded.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        from huggingface_hub import hf_hub_download

        repo, _, revision = source.partition("@")
        expected = f"{', '.join(FILES)}; expected a CLAP checkpoint of transformers"
        with hub_errors(repo, revision or None, expected):
            paths = [hf_hub_download(repo, name, revision=revision or None) for name in FILES]
        folder = Path(paths[0]).parent
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    try:
        kind = ClapConfig.get_config_dict(folder, local_files_only=True)[0].get("model_type")
        if kind != "clap":
            raise ValueError(f"its model_type is {kind!r}")
        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        model = ClapModel.from_pretrained(folder, **options).eval()
        return model, ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of safetensors and of JSON too
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{source}: expected a CLAP checkpoint with {', '.join(FILES)} ({reason})"
        ) from error


@torch.no_grad()
def embed_sound(model: Any, extractor: Any, samples: np.ndarray) -> Iterator[np.ndarray]:
    """``[d]`` for each stretch of the model's length (10 s) of ``[N]`` samples at its rate.

    A rest of less than a tenth of that is left out, unless it is all.
    """
    size = extractor.nb_max_samples
    for start in range(0, len(samples), size):
        piece = samples[start : start + size]
        if start and len(piece) < size / 10:
            break
        found = extractor(piece, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        features = model.get_audio_features(**found)
        yield getattr(features, "pooler_output", features)[0].numpy()  # a tensor before 5.0
