"""Sound files to ``.vrec`` files and back, piece by piece: any length in the memory of a window."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vaerecon.audio.buffers import FolderStore
from vaerecon.audio.clip import stream_audio
from vaerecon.audio.samples import Level, measure_level
from vaerecon.codec.latent_codec import LAYOUT, Header, LatentCodec
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel_section
from vaerecon.methods import get_method
from vaerecon.models.autoencoder import decoded_pieces, posterior_pieces, vae_hash
from vaerecon.pipeline.pipeline import ReconstructionPipeline
from vaerecon.pipeline.synthesis import synthesized
from vaerecon.utils.autocast import without_autocast
from vaerecon.utils.files import text_to_name, whole_folder
from vaerecon.utils.windows import split

Name = str | os.PathLike[str]
FRAMES = 3000  # of the mel that are computed at once


@torch.no_grad()
@without_autocast
def encode_file(
    source: Name, target: Name, pipe: ReconstructionPipeline, codec: LatentCodec,
    **settings: Any,
) -> Header:  # fmt: skip
    """Code a sound file; ``target`` appears whole or not at all.

    ``settings`` are those of :meth:`LatentCodec.encode`. ValueError or OSError for files that
    cannot be read or written, and for a codec of another model.
    """
    codec.check(vae_hash(pipe.vae))
    with _store(target) as (store, path):
        with stream_audio(source) as sound:
            samples = store.keep(torch.from_numpy(block) for block in sound.blocks)
        n = len(samples)
        level = measure_level(n, samples.read, FRAMES * AUDIOLDM_MEL.hop_length)

        def read(start: int, stop: int) -> torch.Tensor:
            return level.apply(samples.read(start, stop))

        sections = split(AUDIOLDM_MEL.n_frames(n), FRAMES)
        mel = store.keep((log_mel_section(read, n, *ends) for ends in sections), axis=-2)
        pieces = posterior_pieces(pipe.vae, mel.read, len(mel))
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
    chosen = get_method(method or head.method)
    if "original" in chosen.needs:
        raise ValueError(f"method: got {chosen.name!r}, which needs the original; take another")
    generator = torch.Generator().manual_seed(head.seed if seed is None else seed)
    level, n = Level(torch.zeros(()), torch.tensor(head.gain)), head.n_samples
    with _store(target) as (store, path):
        latent = store.keep(pieces, axis=-2)
        mel = store.keep(decoded_pieces(pipe.vae, latent.read, len(latent)), axis=-2)
        sounds = synthesized(
            pipe._models(), chosen, mel.read, AUDIOLDM_MEL.n_frames(n), n, generator
        )  # fmt: skip
        store.keep((level.restore(sound) for sound in sounds), wav=path.name, n_samples=n)
    return head


@contextmanager
def _store(target: Name) -> Iterator[tuple[FolderStore, Path]]:
    """Where to keep tracks meanwhile, and the path of the result, which appears at the end."""
    target = Path(text_to_name(target))
    with whole_folder(target.parent) as folder:
        scratch = folder.parent / "tracks"
        scratch.mkdir()
        with FolderStore(folder, scratch) as store:
            yield store, folder / target.name
