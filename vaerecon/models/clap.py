"""CLAP [1]_: embeddings of sounds, for distances of sets.

.. [1] Y. Wu et al., "Large-scale contrastive language-audio pretraining", ICASSP 2023.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vaerecon.audio.clip import load_audio
from vaerecon.models.hub import hub_errors

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
EXPECTED = f"{', '.join(FILES)}; expected a CLAP checkpoint of transformers"


def load_clap(source: str) -> Callable[[str], np.ndarray]:
    """Of a folder or a hub id: a function of a sound file that gives ``[n, d]``, one for each 10 s.

    A rest of less than 1 s is left out, unless it is all. ValueError, OSError: no such model.
    """
    from huggingface_hub import hf_hub_download
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    folder = Path(source).expanduser()
    if not folder.is_dir():
        with hub_errors(source, None, EXPECTED):
            folder = [Path(hf_hub_download(source, name)) for name in FILES][-1].parent
    try:
        if (kind := ClapConfig.get_config_dict(folder)[0].get("model_type")) != "clap":
            raise ValueError(f"its model_type is {kind!r}")
        model = ClapModel.from_pretrained(folder, use_safetensors=True).eval()
        extractor = ClapFeatureExtractor.from_pretrained(folder)
    except Exception as error:  # of safetensors and of JSON too
        raise ValueError(f"{source}: has no {EXPECTED} ({' '.join(str(error).split())})") from error
    size, rate = extractor.nb_max_samples, extractor.sampling_rate

    @torch.no_grad()
    def embed(file: str) -> np.ndarray:
        samples, found = load_audio(file, sample_rate=rate).samples, []
        for start in range(0, max(1, len(samples) - size // 10 + 1), size):
            mel = extractor(samples[start : start + size], sampling_rate=rate, return_tensors="pt")
            output = model.get_audio_features(**mel)
            found.append(getattr(output, "pooler_output", output)[0].numpy())  # a tensor before 5
        return np.stack(found)

    return embed
