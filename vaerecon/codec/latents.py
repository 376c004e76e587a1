"""Sound to ``.safetensors`` files with its latent, and back, to edit or to generate latents.

A file holds ``mean`` and ``deviation`` ``[8, L, 16]`` of the posterior, or, scaled, ``latents``
``[1, 8, L, 16]``: the mean times the VAE's ``scaling_factor``, as AudioLDM2's UNet takes it. Its
metadata hold what :func:`decode_latents` needs. Example: ``docs/latents.md``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import torch

from vaerecon import __version__
from vaerecon.codec.files import Name, output_store, read_posterior, write_sound
from vaerecon.models.autoencoder import check_latent, reduction, vae_hash
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.files import text_to_name


def _model_facts(pipe: ReconstructionPipeline) -> dict[str, str]:
    """What a file and the model that decodes it must have in common."""
    return {
        "vae": vae_hash(pipe.vae),
        "mel": json.dumps(asdict(pipe.mel_config)),
        "scaling_factor": repr(pipe.vae.config["scaling_factor"]),
    }


@torch.no_grad()
@without_autocast
def encode_latents(
    source: Name, target: Name, pipe: ReconstructionPipeline, scaled: bool = False
) -> tuple[int, list[int]]:
    """Write the latent of a sound file; return the number of samples, and the latent's shape.

    ``scaled`` writes ``latents`` in place of ``mean`` and ``deviation``. The file appears whole or
    not at all. ValueError or OSError for files that cannot be read or written.
    """
    from safetensors.torch import save

    with output_store(target) as (store, path):
        n, level, pieces = read_posterior(source, pipe, store)
        mean, logvar = torch.cat([piece.cpu() for piece in pieces], dim=-2)
        tensors = {"mean": mean, "deviation": (0.5 * logvar).exp()}
        if scaled:
            tensors = {"latents": mean[None] * pipe.vae.config["scaling_factor"]}
        facts = {"vaerecon": __version__, "model": pipe.source, "n_samples": str(n)}
        facts["gain"] = repr(float(level.gain))  # which the front-end multiplied with
        path.write_bytes(save(tensors, facts | _model_facts(pipe)))
    return n, list(mean.shape)


@torch.no_grad()
@without_autocast
def decode_latents(
    source: Name, target: Name, pipe: ReconstructionPipeline,
    method: str | None = None, seed: int | None = None,
) -> tuple[int, list[int]]:  # fmt: skip
    """Make a WAV file (mono, 16 kHz, float) of a file of latents, at the level of the clip.

    ``method`` is ``"fast"`` and ``seed`` 0 by default; what is returned is as for
    :func:`encode_latents`. ValueError or OSError for a file that cannot be read, is of another
    model, or whose latent is not finite or of another length.
    """
    latent, n, gain = _read(source, pipe)
    write_sound(target, pipe, [latent], n, gain, method or "fast", seed or 0)
    return n, list(latent.shape)


def _read(source: Name, pipe: ReconstructionPipeline) -> tuple[torch.Tensor, int, float]:
    """Unscaled latent ``[8, L, 16]``, number of samples and gain of a file, all checked."""
    from safetensors import SafetensorError, safe_open

    path = text_to_name(source)
    with open(path, "rb"):  # its errors name what is wrong with the path
        pass
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            found = {"mean", "latents"}.intersection(file.keys())
            tensors = [file.get_tensor(name) for name in found]
        n, gain = int(facts["n_samples"]), float(facts["gain"])
        for name, own in _model_facts(pipe).items():
            if facts[name] != own:
                raise ValueError(
                    f"latents: the file is of the model {facts['model']!r} with {name} "
                    f"{facts[name]}, expected {own}; name its model with --model"
                )
    except SafetensorError as error:
        raise ValueError(f"latents: no .safetensors file, or a damaged one: {error}") from None
    except KeyError as error:
        raise ValueError(
            f"latents: got a file without {error} in its metadata, expected one of vaerecon's "
            "encode; keep the metadata of that file when you write a changed one"
        ) from None
    if len(tensors) != 1:
        raise ValueError(
            f"latents: got {sorted(found)}, expected one of 'mean' and 'latents'; leave one out"
        )
    latent = check_latent(pipe.vae, tensors[0]).squeeze(0)
    if "latents" in found:
        latent = latent / pipe.vae.config["scaling_factor"]
    length = math.ceil(pipe.mel_config.n_frames(n) / reduction(pipe.vae))
    if latent.shape[1:-1] != (length,) or not 0 < gain < math.inf:
        raise ValueError(
            f"latents: got shape {list(latent.shape)} for {n} samples at gain {gain:g}, expected "
            f"one item of length {length} and a gain above 0"
        )
    if not torch.isfinite(latent).all():
        raise ValueError("latents: got NaN or infinite values, expected finite ones")
    return latent, n, gain
