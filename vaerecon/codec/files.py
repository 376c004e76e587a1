"""Convert sound files to files of latents and back, in the memory of one window of sound.

``.vrec`` files hold coded latents (:class:`LatentCodec`). ``.safetensors`` files are for editing or
generating latents: they hold ``mean`` and ``deviation`` ``[8, L, 16]`` of the posterior, or,
scaled, ``latents`` ``[1, 8, L, 16]``: the mean times the ``scaling_factor``, the scale of
AudioLDM2's UNet. :func:`decode_latents` needs their metadata. Example: ``docs/latents.md``.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vaerecon import __version__
from vaerecon.audio.buffers import FolderStore
from vaerecon.audio.clip import stream_audio
from vaerecon.audio.samples import Level, measure_level
from vaerecon.codec.latent_codec import LAYOUT, Header, LatentCodec
from vaerecon.mel.front_end import log_mel_section
from vaerecon.methods import get_method
from vaerecon.models import autoencoder
from vaerecon.models.autoencoder import vae_hash
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.synthesis import synthesized
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.files import text_to_name, whole_folder
from vaerecon.utils.windows import split

Name = str | os.PathLike[str]


@torch.no_grad()
@without_autocast
def encode_file(
    source: Name, target: Name, pipe: ReconstructionPipeline, codec: LatentCodec,
    **settings: Any,
) -> Header:  # fmt: skip
    """Encode a sound file; ``settings`` are those of :meth:`LatentCodec.encode`.

    ``target`` is written completely or not at all. Raises ValueError or OSError for files that
    cannot be read or written, and for a codec of another model.
    """
    codec.check(vae_hash(pipe.vae))
    with _output_store(target) as (store, path):
        n, level, pieces = _read_posterior(source, pipe, store)
        latent = store.keep((mean for mean, _ in pieces), axis=-2)
        data = codec.encode(latent, n_samples=n, gain=float(level.gain), **settings)
        path.write_bytes(data)
    return Header.read(data)


@torch.no_grad()
@without_autocast
def decode_file(
    source: Name, target: Name, pipe: ReconstructionPipeline, codec: LatentCodec,
    method: str | None = None, seed: int | None = None,
) -> Header:  # fmt: skip
    """Decode a ``.vrec`` file to a WAV file (mono, 16 kHz, float), at the level of the clip.

    ``method`` and ``seed`` are by default those in the file. Raises ValueError or OSError as
    :meth:`LatentCodec.decode`, or if a file cannot be read or written; no file is left then.
    """
    source = Path(text_to_name(source))
    with open(source, "rb") as file:  # check the header before reading a large file
        head = Header.read(file.read(LAYOUT.size), source.stat().st_size)
        file.seek(0)
        pieces = codec.decoded_pieces(file.read())
    codec.check(vae_hash(pipe.vae))
    seed = head.seed if seed is None else seed
    _write_sound(target, pipe, pieces, head.n_samples, head.gain, method or head.method, seed)
    return head


@torch.no_grad()
@without_autocast
def encode_latents(
    source: Name, target: Name, pipe: ReconstructionPipeline, scaled: bool = False
) -> tuple[int, list[int]]:
    """Write the latent of a sound file; return the number of samples, and the latent's shape.

    ``scaled`` writes ``latents`` instead of ``mean`` and ``deviation``. The file is written
    completely or not at all. ValueError or OSError for files that cannot be read or written.
    """
    from safetensors.torch import save

    with _output_store(target) as (store, path):
        n, level, pieces = _read_posterior(source, pipe, store)
        mean, logvar = torch.cat([piece.cpu() for piece in pieces], dim=-2)
        tensors = {"mean": mean, "deviation": (0.5 * logvar).exp()}
        if scaled:
            tensors = {"latents": mean[None] * pipe.vae.config["scaling_factor"]}
        facts = {"vaerecon": __version__, "model": pipe.source, "n_samples": str(n)}
        facts["gain"] = repr(float(level.gain))  # factor that the front-end applied
        path.write_bytes(save(tensors, facts | _model_facts(pipe)))
    return n, list(mean.shape)


@torch.no_grad()
@without_autocast
def decode_latents(
    source: Name, target: Name, pipe: ReconstructionPipeline,
    method: str | None = None, seed: int | None = None,
) -> tuple[int, list[int]]:  # fmt: skip
    """Decode a file of latents to a WAV file (mono, 16 kHz, float), at the level of the clip.

    ``method`` is ``"fast"`` and ``seed`` 0 by default. Returns the number of samples, and the
    latent's shape. Raises ValueError or OSError if the file cannot be read, is of another model,
    or has a latent that is not finite or of another length.
    """
    latent, n, gain = _read_latents(source, pipe)
    _write_sound(target, pipe, [latent], n, gain, method or "fast", seed or 0)
    return n, list(latent.shape)


def _read_posterior(
    source: Name, pipe: ReconstructionPipeline, store: FolderStore
) -> tuple[int, Level, Iterator[torch.Tensor]]:
    """Return the number of samples of a sound file, its level, and pieces of its posterior."""
    models = pipe._models()
    frames, config = models.plan.longest, models.config  # frames at once, as in the pipeline
    with stream_audio(source) as sound:
        samples = store.keep(torch.from_numpy(block) for block in sound.blocks)
    n = len(samples)
    level = measure_level(n, samples.read, frames * config.hop_length)

    def read(start: int, stop: int) -> torch.Tensor:
        return level.apply(samples.read(start, stop)).to(models.device)

    sections = split(config.n_frames(n), frames)
    mel = store.keep((log_mel_section(read, n, *ends) for ends in sections), axis=-2)
    windows = config, models.chunk_seconds
    return n, level, autoencoder.posterior_pieces(pipe.vae, mel.read, len(mel), *windows)


def _write_sound(
    target: Name, pipe: ReconstructionPipeline, pieces: Iterable[torch.Tensor], n_samples: int,
    gain: float, method: str, seed: int,
) -> None:  # fmt: skip
    """Write the sound of an unscaled latent, given in pieces, as WAV at the clip's level."""
    models, chosen = pipe._models(), get_method(method)
    if "original" in chosen.needs:
        raise ValueError(f"method: got {chosen.name!r}, which needs the original; take another")
    generator = torch.Generator().manual_seed(seed)
    level = Level(torch.zeros(()), torch.tensor(gain))
    n_frames = models.config.n_frames(n_samples)
    windows = models.config, models.chunk_seconds
    with _output_store(target) as (store, path):
        latent = store.keep(pieces, axis=-2)
        decoded = autoencoder.decoded_pieces(pipe.vae, latent.read, len(latent), *windows)
        mel = store.keep(decoded, axis=-2)
        sounds = synthesized(models, chosen, mel.read, n_frames, n_samples, generator)
        restored = (level.restore(sound) for sound in sounds)
        store.keep(restored, wav=path.name, n_samples=n_samples)


@contextmanager
def _output_store(target: Name) -> Iterator[tuple[FolderStore, Path]]:
    """Yield a store for temporary tracks, and the path of the result, which appears at the end."""
    target = Path(text_to_name(target))
    with whole_folder(target.parent) as folder:
        scratch = folder.parent / "tracks"
        scratch.mkdir()
        with FolderStore(folder, scratch) as store:
            yield store, folder / target.name


def _model_facts(pipe: ReconstructionPipeline) -> dict[str, str]:
    """Return the facts that a file and the model that decodes it must have in common."""
    return {
        "vae": vae_hash(pipe.vae),
        "mel": json.dumps(asdict(pipe.mel_config)),
        "scaling_factor": repr(pipe.vae.config["scaling_factor"]),
    }


def _read_latents(source: Name, pipe: ReconstructionPipeline) -> tuple[torch.Tensor, int, float]:
    """Return the unscaled latent ``[8, L, 16]``, number of samples and gain of a file, checked."""
    from safetensors import SafetensorError, safe_open

    path = text_to_name(source)
    with open(path, "rb"):  # raises the usual errors for a path that cannot be read
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
                    f"{facts[name]}, expected {own}; name the weights that made it by --model"
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
    latent = autoencoder.check_latent(pipe.vae, tensors[0]).squeeze(0)
    if "latents" in found:
        latent = latent / pipe.vae.config["scaling_factor"]
    length = math.ceil(pipe.mel_config.n_frames(n) / autoencoder.reduction(pipe.vae))
    if latent.shape[1:-1] != (length,) or not 0 < gain < math.inf:
        raise ValueError(
            f"latents: got shape {list(latent.shape)} for {n} samples at gain {gain:g}, expected "
            f"one item of length {length} and a gain above 0"
        )
    if not torch.isfinite(latent).all():
        raise ValueError("latents: got NaN or infinite values, expected finite ones")
    return latent, n, gain
