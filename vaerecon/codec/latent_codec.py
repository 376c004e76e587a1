"""Encode a latent to the bytes of a ``.vrec`` file, and decode it. Notebook: ``07_compression``.

A frame of the latent, 16 positions x 8 channels, is divided by each channel's posterior deviation,
the mean is subtracted, and a fixed rotation, the KLT, gives 128 coefficients. They are predicted
from the decoded previous frame by a fixed matrix; the residual is divided by the step, rounded, and
coded by a fixed table for each coefficient and step. All constants are learned once per VAE.
"""

from __future__ import annotations

import bisect
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vaerecon.audio.buffers import MemoryTrack, Track
from vaerecon.audio.samples import ArrayLike
from vaerecon.bundled import TINY
from vaerecon.codec import rans
from vaerecon.codec.quantiser import N_STEPS, Quantiser, step_of, to_frames
from vaerecon.models.autoencoder import vae_hash

FILE = "codec/tables.safetensors"
LAYOUT = struct.Struct("<4sBBHIfI8s8sI")  # the fields of Header up to `checksum`
METHODS = ("vocoder", "fast", "griffinlim", "hybrid", "admm", "librosa")  # by number in the file
SAMPLES, BLOCK = 640, 1500  # samples per latent frame; frames per stream (one minute)
LARGEST, MOST_BYTES = 2.0**15, 2048  # largest coefficient, bytes per frame; sound: about 100, 60


class Header(NamedTuple):
    """The first 40 bytes of a ``.vrec`` file, and the length of the payload."""

    magic: bytes
    version: int
    method_number: int  # default method of synthesis, an index of METHODS
    step_index: int  # index of the quantiser's step
    n_samples: int  # at 16 kHz
    gain: float  # factor that was applied to the clip before the mel
    seed: int  # seed of the method's random draws
    vae: bytes  # hash of the VAE's weights
    tables: bytes  # hash of the codec's constants
    checksum: int  # CRC-32 of all other bytes
    payload: int  # bytes

    @property
    def step(self) -> float:
        """Step of the quantiser, in posterior deviations."""
        return step_of(self.step_index)

    @property
    def method(self) -> str:
        """Name of the default method of synthesis."""
        return METHODS[self.method_number]

    @property
    def frames(self) -> int:
        """Number of latent frames."""
        return math.ceil(self.n_samples / SAMPLES)

    @property
    def kbps(self) -> float:
        """Rate of the payload, kbit/s."""
        return 128 * self.payload / self.n_samples

    @classmethod
    def read(cls, data: bytes, size: int | None = None) -> Header:
        """Read the header of a file of ``size`` bytes that begins with ``data``, and check it."""
        if data[:4] != b"VREC" or len(data) < LAYOUT.size:
            raise ValueError(f"vrec: the file begins with {data[:4]!r}: no .vrec, or cut short")
        head = cls._make([*LAYOUT.unpack_from(data), (size or len(data)) - LAYOUT.size])
        if head.version != 1:
            raise ValueError(f"vrec: got version {head.version}, expected 1; update vaerecon")
        fits = head.method_number < len(METHODS) and head.step_index < N_STEPS
        fits = fits and 0 < head.gain < math.inf and head.payload % 2 == 0
        if not (fits and 0 < head.payload <= MOST_BYTES * head.frames):
            raise ValueError("vrec: the header has impossible values: the file is damaged")
        return head


class LatentCodec:
    """Codec for latents of one VAE; create it by :meth:`from_pretrained` or :meth:`fit`.

    ``constants`` are ``deviation`` [8] and ``mean`` [128], float32; ``rotation`` and ``predictor``
    [128, 128], float16; ``table_of`` [113, 128] uint8, the row of ``frequencies`` [n, 255] uint16
    (of -127 to 127) for each step and coefficient. ``vae`` is the :func:`vae_hash` of the VAE.
    """

    def __init__(self, constants: dict[str, np.ndarray], vae: str):
        self.constants, self.vae = constants, vae
        parts = b"".join(constants[name].tobytes() for name in sorted(constants))
        self.hash = hashlib.sha256(parts).hexdigest()[:16]
        self._scale = constants["deviation"].astype(float)[:, None, None]
        self._mean, self._rotation = constants["mean"], constants["rotation"].astype(float)
        self._sizes = constants["frequencies"].astype(int)
        self._starts = self._sizes.cumsum(axis=1) - self._sizes
        self._tables = [rans.Table(row[row > 0]) for row in self._sizes]
        self._reach = np.array([table.reach for table in self._tables])

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str] = "tiny") -> LatentCodec:
        """Load the codec of ``"tiny"``, or of a folder with ``codec/``; ValueError if invalid."""
        from safetensors import SafetensorError, safe_open

        folder = TINY if source == "tiny" else Path(source)
        try:
            with safe_open(folder / FILE, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                codec = cls(arrays, file.metadata()["vae"])
            if (codec._sizes.sum(axis=1) == rans.PARTS).all() and codec._scale.min() > 0:
                codec.decode(codec.encode(torch.zeros(8, 1, 16), step=64.0))
                return codec
        except (OSError, SafetensorError, LookupError, TypeError, ValueError):
            pass
        raise ValueError(
            f"codec: {folder.name!r} has no {FILE}, or a damaged one; make it with "
            "vaerecon.LatentCodec.fit(clips, model).save_pretrained(folder)"
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``codec/`` into ``folder``, which may be that of a checkpoint."""
        from safetensors.numpy import save

        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(save(self.constants, {"vae": self.vae}))

    @classmethod
    def fit(cls, clips: Iterable[Any], model: Any = "tiny") -> LatentCodec:
        """Learn the constants from the first 30 s of each clip; takes some seconds.

        ``clips`` are folders, files or samples, at least ten seconds in total; ``model`` is a
        pipeline, or an argument of its ``from_pretrained``.
        """
        from vaerecon.codec.fitting import fit
        from vaerecon.pipeline.pipeline import ReconstructionPipeline

        if not isinstance(model, ReconstructionPipeline):
            model = ReconstructionPipeline.from_pretrained(model)
        return cls(fit(clips, model.vae), vae_hash(model.vae))

    def encode(
        self, latent: ArrayLike | Track, kbps: float | None = None, step: float | None = None,
        n_samples: int | None = None, gain: float = 1.0, method: str = "fast", seed: int = 0,
    ) -> bytes:  # fmt: skip
        """Encode an unscaled latent ``[8, L, 16]``; return the bytes of a ``.vrec`` file.

        Parameters
        ----------
        kbps
            Highest rate of the payload (without the header of 40 bytes): the finest step within
            this rate is used. The actual rate is ``Header.read(data).kbps``.
        step
            Instead of ``kbps``: the quantiser's step, 0.5 to 64 posterior deviations.
        n_samples, gain, method, seed
            For the synthesis, see :class:`Header`. By default ``640 L`` samples.

        Raises
        ------
        ValueError
            For another layout, a rate below that of the coarsest step, or invalid settings.
        """
        if not isinstance(latent, Track):
            latent = MemoryTrack(torch.as_tensor(latent).detach().cpu(), -2)
        channels, length, positions = latent.shape if len(latent.shape) == 3 else (0, 0, 0)
        n_samples = n_samples or SAMPLES * length
        if channels != 8 or positions != 16 or not 0 < n_samples <= SAMPLES * length < 2**32:
            raise ValueError(
                f"latent: got shape {list(latent.shape)} for {n_samples} samples, expected "
                "[8, L, 16], one clip, and up to 640 L samples"
            )
        given = [value for value in (kbps, step) if value is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise ValueError(f"kbps, step: got {kbps}, {step}; expected one of them, above 0")
        if method not in METHODS:
            raise ValueError(f"method: got {method!r}, expected one of {', '.join(METHODS)}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed: got {seed}, expected 0 to {2**32 - 1}")
        if step is not None:
            index = min(max(round(16 * math.log2(2 * step)), 0), N_STEPS - 1)
        else:
            index = self._finest_step(latent, given[0], n_samples / 16)
        symbols = self._symbols(latent, index)
        payload = b"".join(rans.encode(start.tolist(), size.tolist()) for start, size in symbols)
        hashes = bytes.fromhex(self.vae), bytes.fromhex(self.hash)
        fields = (b"VREC", 1, METHODS.index(method), index, n_samples, gain, seed, *hashes)
        head = LAYOUT.pack(*fields, 0)[:-4]
        data = head + struct.pack("<I", zlib.crc32(head + payload)) + payload
        Header.read(data)  # raises if the file could not be decoded
        return data

    def _finest_step(self, latent: Track, kbps: float, milliseconds: float) -> int:
        """Return the index of the finest step with at most this rate."""

        def bits(index: int) -> float:
            return sum(48 + 16 * len(n) - np.log2(n).sum() for _, n in self._symbols(latent, index))

        most = kbps * milliseconds  # bits; a finer step needs more
        index = bisect.bisect_left(range(N_STEPS), -most, key=lambda index: -bits(index))
        if index == N_STEPS:
            least = bits(N_STEPS - 1) / milliseconds
            raise ValueError(f"kbps: got {kbps:g}, too low for this clip; it needs {least:.3f}")
        return index

    def _symbols(self, latent: Track, index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the first part and the number of parts of each symbol, stream by stream."""
        quantiser = Quantiser(self.constants["predictor"], index)
        table = self.constants["table_of"][index].astype(int)
        for start in range(0, len(latent), BLOCK):
            piece = latent.read(start, min(start + BLOCK, len(latent))).numpy()
            wanted = (to_frames(piece / self._scale) - self._mean) @ self._rotation
            if not np.abs(wanted).max() < LARGEST:  # written so that NaN is refused too
                raise ValueError("latent: got values that are not finite, or unlike those of sound")
            numbers = quantiser.quantise(wanted)
            more, rest = np.divmod(np.abs(numbers), self._reach[table])  # see rans.Table
            which = np.repeat(np.arange(numbers.size), more.ravel() + 1)
            symbols = (np.sign(numbers) * self._reach[table]).ravel()[which]
            symbols[np.cumsum(more + 1) - 1] = (np.sign(numbers) * rest).ravel()
            row = np.tile(table, len(numbers))[which]
            yield self._starts[row, symbols + 127], self._sizes[row, symbols + 127]

    def decode(self, data: bytes) -> torch.Tensor:
        """Decode a ``.vrec`` file to its latent ``[8, L, 16]``, float32.

        Raises ValueError if it is damaged, truncated, or of another model or other tables.
        """
        return torch.cat(list(self.decoded_pieces(data)), dim=-2)

    def decoded_pieces(self, data: bytes) -> Iterator[torch.Tensor]:
        """Yield :meth:`decode` in pieces ``[8, l, 16]``, after all checks that need no decoding."""
        head, payload = Header.read(data), data[LAYOUT.size :]
        self.check(head.vae.hex(), head.tables.hex())
        if zlib.crc32(data[: LAYOUT.size - 4] + payload) != head.checksum:
            raise ValueError("vrec: the checksum is wrong: the file is damaged or cut short")
        rows = self.constants["table_of"][head.step_index]
        least = (16 - np.log2(self._sizes.max(axis=1)[rows])).sum()  # bits of a frame
        if head.frames * least > 8 * head.payload:
            raise ValueError(f"vrec: {head.payload} bytes cannot hold {head.n_samples} samples")
        quantiser = Quantiser(self.constants["predictor"], head.step_index)
        words, place = rans.to_words(payload), 0
        for start in range(0, head.frames, BLOCK):
            count = min(BLOCK, head.frames - start)
            tables = [self._tables[row] for row in rows] * count
            numbers, place = rans.decode(words, place, tables)
            decoded = quantiser.restore(np.array(numbers, float).reshape(count, 128))
            frames = (decoded @ self._rotation.T + self._mean).reshape(count, 16, 8)
            piece = np.moveaxis(frames, -1, 0) * self._scale  # [L, 16, 8] -> [8, L, 16]
            yield torch.from_numpy(piece.astype(np.float32))
        if place != len(words):
            raise ValueError("vrec: more is coded than the header says: the file is damaged")

    def check(self, vae: str, tables: str | None = None) -> None:
        """Raise ValueError if ``vae`` or ``tables`` are not the hashes of this codec."""
        for name, got, own in (("VAE", vae, self.vae), ("tables", tables or self.hash, self.hash)):
            if got != own:
                raise ValueError(
                    f"codec: got the {name} {got}, expected {own}: the file, the model and the "
                    "codec must belong together; load those that the file was made with"
                )
