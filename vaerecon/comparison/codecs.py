"""Codecs at a given rate, as rows of the table: soundfile's encoders, and that of the latent.

Rates are those of the payload in kbit/s: without the headers of Ogg and of ``.vrec``, whose fixed
size matters on short clips. Encoders of variable rate are set for each clip to the highest quality
within the given rate, or to the coarsest setting if even that needs more. A codec's delay is
measured once for each setting, on noise, and removed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaerecon.audio.samples import normalize_level

if TYPE_CHECKING:
    from vaerecon.audio.clip import Clip
    from vaerecon.pipeline.pipeline import ReconstructionPipeline

# format, subtype, coarsest level that is encoded, packets of the Ogg stream that are headers
ENCODERS = {
    "opus": ("OGG", "OPUS", 1.0, 2),
    "vorbis": ("OGG", "VORBIS", 1.0, 3),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.99, 0),
}
NAMES = ("latent", *ENCODERS)
LATENT_KBPS = 4.8  # if no rate is given; the others take their coarsest setting then
METHOD = "fast"  # by which the decoded latent becomes sound
TRIALS = 10  # halvings of the range of levels
LONGEST_LAG = 16000  # samples, early or late, that a lag is looked for


def parse_codecs(codecs: str | Iterable[str]) -> tuple[str, ...]:
    """Names with rates, ``"latent:4.8,opus:8,vorbis"``; a ValueError for anything else."""
    items = codecs.split(",") if isinstance(codecs, str) else codecs
    found = tuple(dict.fromkeys(item.strip() for item in items if item.strip()))
    for item in found:
        _name_and_rate(item)
    return found


def _name_and_rate(item: str) -> tuple[str, float | None]:
    name, colon, text = item.partition(":")
    try:
        kbps = float(text) if colon else None
        fits = name in NAMES and (kbps is None or 0 < kbps < 1000)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"codecs: got {item!r}, expected one of {', '.join(NAMES)}, with a colon "
                         "and a rate in kbit/s or without, such as 'opus:8'")  # fmt: skip
    return name, kbps


def codec_rows(
    clip: Clip, codecs: Iterable[str], pipe: ReconstructionPipeline, exclude: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """A record for each codec, as those of the methods, and its ``samples`` ``[N]``."""
    from vaerecon import metrics

    samples, level = normalize_level(clip.samples)
    for item in codecs:
        name, kbps = _name_and_rate(item)
        if name == "latent":
            sound, rate, lag = _code_latent(samples, kbps or LATENT_KBPS, pipe)
        else:
            decoded, rate, lag = code_sound(samples.numpy(), name, kbps)
            sound = torch.from_numpy(decoded)
        reference, estimate = level.restore(samples), level.restore(sound)
        scores = metrics.evaluate(reference, estimate, exclude=exclude)
        yield {"method": item, "through_vae": name == "latent", "metrics": scores, "kbps": rate,
               "lag_samples": lag, "gain": 1.0 / float(level.gain), "samples": estimate,
               "notes": scores.notes}  # fmt: skip


def _code_latent(
    samples: torch.Tensor, kbps: float, pipe: ReconstructionPipeline
) -> tuple[torch.Tensor, float, int]:
    from vaerecon.codec import Header, LatentCodec
    from vaerecon.mel.front_end import log_mel
    from vaerecon.models.autoencoder import vae_hash

    codec = LatentCodec.from_pretrained(pipe.folder or pipe.source)
    codec.check(vae_hash(pipe.vae))
    mel = log_mel(samples, normalize=False)
    data = codec.encode(pipe.encode(mel), kbps=kbps, n_samples=len(samples))
    decoded = pipe.decode(codec.decode(data), len(mel))
    return pipe.synthesize(decoded, METHOD, len(samples)).cpu(), Header.read(data).kbps, 0


def code_sound(
    samples: np.ndarray, name: str, kbps: float | None = None
) -> tuple[np.ndarray, float, int]:
    """Samples ``[N]`` at 16 kHz, within -1 to 1, through one of :data:`ENCODERS` and back.

    Returns the sound ``[N]`` float32, aligned; the rate of its payload in kbit/s; and the samples
    that the codec was late.
    """
    coarse, fine = ENCODERS[name][2], 0.0
    data = _encoded(samples, name, coarse)
    most = 1.001 * (kbps or 0)  # a rate that the encoder names may come out a little above
    if _kbps(data, name) <= most:
        for _ in range(TRIALS):
            level = (coarse + fine) / 2
            trial = _encoded(samples, name, level)
            if _kbps(trial, name) <= most:
                coarse, data = level, trial
            else:
                fine = level
    lag = _lag(name, coarse)
    decoded = _decoded(data)[lag : lag + len(samples)]
    return np.pad(decoded, (0, len(samples) - len(decoded))), _kbps(data, name), lag


def _encoded(samples: np.ndarray, name: str, level: float) -> bytes:
    import soundfile

    file, (kind, subtype, _, _) = io.BytesIO(), ENCODERS[name]
    mode = "CONSTANT" if name == "mp3" else None
    soundfile.write(file, samples, 16000, format=kind, subtype=subtype, compression_level=level,
                    bitrate_mode=mode)  # fmt: skip
    return file.getvalue()


def _decoded(data: bytes) -> np.ndarray:
    import soundfile

    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def _kbps(data: bytes, name: str) -> float:
    """Rate over the time that is decoded: MP3 pads the end to a whole frame."""
    return 8 * _payload(data, name) / (len(_decoded(data)) / 16000) / 1000


def _payload(data: bytes, name: str) -> int:
    """Bytes of the coded sound: of an Ogg stream, its packets but those of the headers."""
    if ENCODERS[name][0] != "OGG":
        return len(data)
    sizes, size, place = [], 0, 0
    while place < len(data):
        count = data[place + 26]  # of the page's segments; a packet ends with one below 255
        segments = data[place + 27 : place + 27 + count]
        for segment in segments:
            size += segment
            if segment < 255:
                sizes.append(size)
                size = 0
        place += 27 + count + sum(segments)
    return sum(sizes[ENCODERS[name][3] :])


@lru_cache
def _lag(name: str, level: float) -> int:
    """Samples by which the decoded sound is late, measured on two seconds of noise."""
    noise = np.cumsum(np.random.default_rng(0).uniform(-1, 1, 32000))
    noise = np.diff(noise - np.convolve(noise, np.ones(64) / 64, "same"))  # above about 250 Hz
    noise = (0.3 * noise / np.abs(noise).max()).astype(np.float32)
    return find_lag(noise, _decoded(_encoded(noise, name, level)))[0]


def find_lag(reference: np.ndarray, estimate: np.ndarray) -> tuple[int, float]:
    """Samples by which ``[M]`` is later than ``[N]``, and the correlation there, -1..1."""
    from scipy.signal import correlate, correlation_lags

    lags = correlation_lags(len(estimate), len(reference))
    values = correlate(estimate, reference, method="fft")
    best = int(np.argmax(np.where(np.abs(lags) <= LONGEST_LAG, values, -np.inf)))
    norm = float(np.linalg.norm(reference) * np.linalg.norm(estimate))
    return int(lags[best]), float(values[best]) / (norm or 1.0)
