"""Parts of a result: facts about model and clip, numbers of each method, and stored arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vaerecon.audio.buffers import Track
from vaerecon.audio.clip import Clip

if TYPE_CHECKING:
    import torch

    from vaerecon.metrics.scores import Scores

NO_ARRAYS = (
    "result: has no arrays, as of reconstruct_file, which writes the sounds to files; read those, "
    "or call the pipeline on the clip: pipe(load_audio(path))"
)


@dataclass(frozen=True)
class ModelFacts:
    """The weights that produced a result, with the device and dtypes on which they ran."""

    variant: str  # "tiny", "music", ..., or "custom"
    source: str  # hub id or folder name, never a path
    revision: str | None  # commit on the hub
    device: str
    dtype: str  # the vocoder's; "mixed" if a model has more than one
    vae_dtype: str  # some VAEs need float32 even if the vocoder runs in float16
    vocoder_dtype: str
    vae_parameters: int
    vocoder_parameters: int


@dataclass(frozen=True)
class ClipFacts:
    """Name, length and checksum of a clip, without the samples."""

    name: str
    sample_rate: int  # Hz
    n_samples: int
    sha256: str  # of the samples as little-endian float32

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    @classmethod
    def of(cls, clip: Clip) -> ClipFacts:
        """Return the facts of a clip in memory."""
        digest = hashlib.sha256(clip.samples.astype("<f4").tobytes()).hexdigest()
        return cls(clip.name, clip.sample_rate, len(clip.samples), digest)


class Tracks(NamedTuple):
    """The arrays of a run, in memory or in files."""

    reference: Track  # [N]: the clip with its mean removed, the reference of the metrics
    mel: Track  # [T, 64] nepers, of the clip
    latent: Track  # [8, ceil(T/4), 16]
    mel_decoded: Track  # [T, 64] nepers, as the VAE returned it


@dataclass(frozen=True)
class MethodResult:
    """Time, scores and (if kept) the sound of one method."""

    seconds: float  # wall-clock time from log-mel to samples
    lag: int  # delay of the output that was removed, samples
    gain: float  # factor from the model's level (peak 0.5) to the clip's
    scores: Scores
    track: Track | None = None  # of the samples

    @property
    def samples(self) -> torch.Tensor:
        """Samples ``[N]``, float32, at the clip's level."""
        if self.track is None:
            raise ValueError(NO_ARRAYS)
        return whole(self.track)

    def record(self, duration: float) -> dict[str, Any]:
        """Return the numbers as in ``analysis.json``; ``duration`` is the clip's, in seconds."""
        return {
            "seconds": self.seconds,
            "real_time_factor": self.seconds / duration,
            "lag_samples": self.lag,
            "gain": self.gain,
            "metrics": dict(self.scores),
            "notes": dict(self.scores.notes),
        }


def whole(track: Track) -> torch.Tensor:
    """Read a whole track."""
    return track.read(0, len(track))
