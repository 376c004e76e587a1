"""Sound files to ``.vrec`` files and back, piece by piece: any length in the memory of a window."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vaerecon.audio.buffers import FolderStore
from vaerecon.audio.clip import stream_audio
from vaerecon.audio.samples import Level, measure_level
from vaerecon.codec.latent_codec import LAYOUT, Header, LatentCodec
from vaerecon.mel.front_end import log_mel_section
from vaerecon.methods import get_method
from vaerecon.models.autoencoder import decoded_pieces, posterior_pieces, vae_hash
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
    """Code a sound file; ``settings`` are those of :meth:`LatentCodec.encode`.

    ``target`` appears whole or not at all. ValueError or OSError for files that cannot be read or
    written, and for a codec of another model.
    """
    codec.check(vae_hash(pipe.vae))
    with output_store(target) as (store, path):
        n, level, pieces = read_posterior(source, pipe, store)
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
    """Make a WAV file (mono, 16 kHz, float) of a ``.vrec`` file, at the level of the clip.

    ``method`` and ``seed`` are those that the file names, by default. ValueError or OSError as
    :meth:`LatentCodec.decode`, or where a file cannot be read or written; nothing is left then.
    """
    source = Path(text_to_name(source))
    with open(source, "rb") as file:  # a large file that is none is not read
        head = Header.read(file.read(LAYOUT.size), source.stat().st_size)
        file.seek(0)
        pieces = codec.decoded_pieces(file.read())
    codec.check(vae_hash(pipe.vae))
    seed = head.seed if seed is None else seed
    write_sound(target, pipe, pieces, head.n_samples, head.gain, method or head.method, seed)
    return head


def read_posterior(
    source: Name, pipe: ReconstructionPipeline, store: FolderStore
) -> tuple[int, Level, Iterator[torch.Tensor]]:
    """Number of samples of a sound file, its level, and its posterior piece by piece."""
    models = pipe._models()
    frames, config = models.plan.longest, models.config  # computed at once, as in the pipeline
    with stream_audio(source) as sound:
        samples = store.keep(torch.from_numpy(block) for block in sound.blocks)
    n = len(samples)
    level = measure_level(n, samples.read, frames * config.hop_length)

    def read(start: int, stop: int) -> torch.Tensor:
        return level.apply(samples.read(start, stop)).to(models.device)

    sections = split(config.n_frames(n), frames)
    mel = store.keep((log_mel_section(read, n, *ends) for ends in sections), axis=-2)
    return n, level, posterior_pieces(pipe.vae, mel.read, len(mel), config, models.chunk_seconds)


def write_sound(
    target: Name, pipe: ReconstructionPipeline, pieces: Iterable[torch.Tensor], n_samples: int,
    gain: float, method: str, seed: int,
) -> None:  # fmt: skip
    """The sound of an unscaled latent, which comes by pieces, as a WAV file at the clip's level."""
    models, chosen = pipe._models(), get_method(method)
    if "original" in chosen.needs:
        raise ValueError(f"method: got {chosen.name!r}, which needs the original; take another")
    generator = torch.Generator().manual_seed(seed)
    level = Level(torch.zeros(()), torch.tensor(gain))
    n_frames = models.config.n_frames(n_samples)
    windows = models.config, models.chunk_seconds
    with output_store(target) as (store, path):
        latent = store.keep(pieces, axis=-2)
        decoded = decoded_pieces(pipe.vae, latent.read, len(latent), *windows)
        mel = store.keep(decoded, axis=-2)
        sounds = synthesized(models, chosen, mel.read, n_frames, n_samples, generator)
        restored = (level.restore(sound) for sound in sounds)
        store.keep(restored, wav=path.name, n_samples=n_samples)


@contextmanager
def output_store(target: Name) -> Iterator[tuple[FolderStore, Path]]:
    """Where to keep tracks meanwhile, and the path of the result, which appears at the end."""
    target = Path(text_to_name(target))
    with whole_folder(target.parent) as folder:
        scratch = folder.parent / "tracks"
        scratch.mkdir()
        with FolderStore(folder, scratch) as store:
            yield store, folder / target.name
