"""What a reconstruction gives: sounds, mels, latent, numbers, and the files that hold them."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.audio.buffers import FileTrack
from vaerecon.audio.clip import Clip, write_wav
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import get_method
from vaerecon.utils.files import check_stem, text_to_name, whole_folder
from vaerecon.utils.windows import split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure

    from vaerecon.metrics.scores import Scores

    # a result in memory holds tensors; one that is being written to files holds those
    Array = torch.Tensor | FileTrack

SCHEMA = 1  # of analysis.json; changes when a key changes its meaning
PICTURE_SECONDS = 30  # s; of a longer clip the picture shows its loudest stretch of that length
BLOCK = 3000  # frames that are read at once
# whatever a number of analysis.json goes through, in the order of the flow
LIBRARIES = (
    "vaerecon", "soundfile", "soxr", "numpy", "scipy", "librosa", "torch", "diffusers",
    "transformers", "pesq", "pystoi", "visqol-python",
)  # fmt: skip


@dataclass(frozen=True)
class ModelFacts:
    """Which weights made a result, and where they ran."""

    variant: str  # "tiny", "music", ..., or "custom"
    source: str  # hub id or folder name, never a path
    revision: str | None  # commit on the hub
    device: str
    dtype: str  # the vocoder's; "mixed" if a part has more than one
    vae_dtype: str  # a VAE may insist on float32 beside a vocoder in float16
    vocoder_dtype: str
    vae_parameters: int
    vocoder_parameters: int


@dataclass(frozen=True)
class ClipFacts:
    """What a result says of its clip, without the samples."""

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
        """Those of a clip in memory."""
        digest = hashlib.sha256(clip.samples.astype("<f4").tobytes()).hexdigest()
        return cls(clip.name, clip.sample_rate, len(clip.samples), digest)


@dataclass(frozen=True)
class MethodFacts:
    """How one method did."""

    seconds: float  # wall-clock time of log-mel to samples
    lag: int  # samples by which the output was late and was moved back
    gain: float  # factor from the model's level (peak 0.5) to the clip's
    scores: Scores


@dataclass(frozen=True)
class MethodResult(MethodFacts):
    """One method's sound and how it scored."""

    samples: Array  # [N] float32, at the clip's level


@dataclass(frozen=True)
class Findings:
    """Everything that was measured of one clip: a reconstruction without its arrays."""

    clip: ClipFacts
    frames: int  # of the mel, T
    vae_mae: float  # nepers; mean difference between the clip's mel and the VAE's
    latent_shape: list[int]  # [8, ceil(T/4), 16]
    methods: dict[str, MethodFacts]  # through the VAE
    without_vae: dict[str, MethodFacts]  # from the original mel; empty if not asked for
    model: ModelFacts
    seed: int
    files: tuple[Path, ...] = ()  # what was written

    @property
    def latent_values(self) -> int:
        """Numbers in the latent."""
        channels, positions, width = self.latent_shape
        return channels * positions * width

    @property
    def ratio_to_mel(self) -> float:
        """Numbers in the mel for each one in the latent."""
        return self.frames * AUDIOLDM_MEL.n_mels / self.latent_values

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a method and source (``vae`` True: through the VAE), one column a number."""
        import pandas as pd

        rows = [
            {
                "method": name,
                "vae": through_vae,
                "seconds": found.seconds,
                "real_time_factor": found.seconds / self.clip.duration,
                **found.scores,
            }
            for through_vae, group in ((True, self.methods), (False, self.without_vae))
            for name, found in group.items()
        ]
        return pd.DataFrame(rows).set_index(["method", "vae"]).astype(float)

    def analysis(self, stem: str) -> dict[str, Any]:
        """Everything, as in ``<stem>_analysis.json`` (schema 1).

        A number that could not be computed is None; ``"notes"`` beside it says why.
        """
        seconds = self.frames * AUDIOLDM_MEL.hop_length / self.clip.sample_rate
        return {
            "schema": SCHEMA,
            "clip": {
                "name": self.clip.name,
                "duration_s": self.clip.duration,
                "sample_rate": self.clip.sample_rate,
                "sha256": self.clip.sha256,
            },
            "model": asdict(self.model),
            "mel": {"frames": self.frames, "vae_mae_nepers": self.vae_mae},
            "latent": {
                "shape": self.latent_shape,
                "values_per_second": self.latent_values / seconds,
                "ratio_to_samples": self.clip.n_samples / self.latent_values,
                "ratio_to_mel": self.ratio_to_mel,
            },
            "methods": {
                name: self._method_entry(found, wav_name(stem, name) if name != "silence" else None)
                for name, found in self.methods.items()
            },
            "without_vae": {
                name: self._method_entry(found, None) for name, found in self.without_vae.items()
            },
            "versions": {"python": platform.python_version()} | {n: _version(n) for n in LIBRARIES},
            "seed": self.seed,
        }

    def _method_entry(self, found: MethodFacts, file: str | None) -> dict[str, Any]:
        notes = dict(found.scores.notes)
        if file is None:
            notes["file"] = "not written: only methods through the VAE are, and not silence"
        return {
            "file": file,
            "seconds": found.seconds,
            "real_time_factor": found.seconds / self.clip.duration,
            "lag_samples": found.lag,
            "gain": found.gain,
            "metrics": dict(found.scores),
            "notes": notes,
        }


@dataclass(frozen=True)
class Reconstruction:
    """A clip that went through the VAE and came back by several methods."""

    clip: Clip | ClipFacts
    reference: Array  # [N] float32: the clip with its mean removed; what is compared
    mel: Array  # [T, 64] nepers, of the clip
    latent: Array  # [8, ceil(T/4), 16]
    mel_decoded: Array  # [T, 64] nepers, as the VAE returned it
    methods: dict[str, MethodResult]  # from mel_decoded
    without_vae: dict[str, MethodResult]  # from mel; empty if not asked for
    model: ModelFacts
    seed: int

    @property
    def audio(self) -> dict[str, torch.Tensor]:
        """Method name to samples ``[N]``, float32, at the clip's level."""
        return {name: found.samples for name, found in self.methods.items()}

    @cached_property
    def findings(self) -> Findings:
        """What was measured, without the arrays."""
        frames = self.mel.shape[0]
        mae = 0.0
        for start, stop in split(frames, BLOCK):
            pair = (section(x, -2, start, stop) for x in (self.mel_decoded, self.mel))
            mae += _mean_difference(*pair) * ((stop - start) / frames)
        return Findings(
            clip=ClipFacts.of(self.clip) if isinstance(self.clip, Clip) else self.clip,
            frames=frames,
            vae_mae=mae,
            latent_shape=list(self.latent.shape),
            methods=_facts(self.methods),
            without_vae=_facts(self.without_vae),
            model=self.model,
            seed=self.seed,
        )

    @property
    def table(self) -> pd.DataFrame:
        """One row a method and source (``vae`` True: through the VAE), one column a number."""
        return self.findings.table

    def analysis(self, stem: str) -> dict[str, Any]:
        """Everything that was measured; see :meth:`Findings.analysis`."""
        return self.findings.analysis(stem)

    def excerpt(self, seconds: int = PICTURE_SECONDS) -> Reconstruction:
        """In memory: all of a clip up to ``seconds``; of a longer one its loudest ``seconds``.

        The name then says which they are, and there are no scores, which are the whole clip's.
        """
        rate, hop = self.clip.sample_rate, AUDIOLDM_MEL.hop_length
        n_samples, n_frames = self.reference.shape[-1], self.mel.shape[0]
        whole = n_samples <= seconds * rate
        start = 0 if whole else rate * self._loudest(seconds)
        stop = n_samples if whole else start + seconds * rate
        frames = start // hop, n_frames if whole else stop // hop
        ratio = -(-n_frames // self.latent.shape[-2])
        name = f"{self.clip.name} (its loudest {seconds} s, from {start // rate} s on)"

        def heard(found: MethodResult) -> MethodResult:
            samples = section(found.samples, -1, start, stop)
            scores = found.scores if whole else type(found.scores)({})
            return replace(found, samples=samples, scores=scores)

        return replace(
            self,
            clip=self.clip if whole else ClipFacts(name, rate, stop - start, ""),
            reference=section(self.reference, -1, start, stop),
            mel=section(self.mel, -2, *frames),
            latent=section(self.latent, -2, frames[0] // ratio, -(-frames[1] // ratio)),
            mel_decoded=section(self.mel_decoded, -2, *frames),
            methods={name: heard(found) for name, found in self.methods.items()},
            without_vae={},
        )

    def _loudest(self, seconds: int) -> int:
        """Whole second at which the stretch with the most energy begins."""
        rate = self.clip.sample_rate
        energy = [
            float(section(self.reference, -1, i * rate, (i + 1) * rate).double().square().sum())
            for i in range(self.reference.shape[-1] // rate)
        ]
        sums = [sum(energy[i : i + seconds]) for i in range(len(energy) - seconds + 1)]
        return sums.index(max(sums))

    def save(self, folder: str | Path, stem: str | None = None) -> list[Path]:
        """Write wav files, ``analysis.json`` and the picture: all of them, or nothing.

        Parameters
        ----------
        folder
            Created if need be. What an earlier run of the same clip wrote there is replaced;
            other files stay.
        stem
            First part of the file names; the clip's name by default.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        OSError
            If the folder cannot be written or the disk is full; nothing is left behind, and an
            earlier result is as it was.
        """
        stem = check_stem(stem or self.clip.name)
        folder, start = Path(folder), text_to_name(stem)
        with whole_folder(folder, partial(earlier_sounds, start)) as scratch:
            write_wav(scratch / original_name(start), self.reference, self.clip.sample_rate)
            for name, found in self.methods.items():
                if name != "silence":
                    write_wav(scratch / wav_name(start, name), found.samples, self.clip.sample_rate)
            self.write_findings(scratch, stem)
            names = sorted(p.name for p in scratch.iterdir())
        return [folder / name for name in names]

    def plot(self) -> tuple[Figure, np.ndarray]:
        """The log-mels of the clip, of the VAE and of each method's sound, as one figure."""
        from vaerecon.plots import plot_reconstruction

        heard = {}
        for name, found in self.methods.items():
            if name != "silence":
                error = found.scores.get("log_mel_mae")
                number = "" if error is None else f": log-mel error {error:.2f} nepers"
                title = f"{get_method(name).label}, through the VAE{number}"
                heard[title] = log_mel(found.samples / found.gain, normalize=False)
        return plot_reconstruction(
            self.mel, self.mel_decoded, heard, name=self.clip.name, model=self.model.variant
        )

    def write_findings(self, folder: Path, stem: str) -> None:
        """Write ``analysis.json`` and the picture into ``folder``."""
        from vaerecon.plots import save_figure

        text = json.dumps(self.analysis(stem), indent=2, allow_nan=False, ensure_ascii=False)
        start = text_to_name(stem)
        (folder / f"{start}_analysis.json").write_text(text + "\n", encoding="utf-8")
        save_figure(self.excerpt().plot()[0], folder / f"{start}_spectrograms.png")


def section(array: Array, axis: int, start: int, stop: int) -> torch.Tensor:
    """Part of a tensor, or of a track in a file."""
    if isinstance(array, FileTrack):
        return array.read(start, stop)
    return array.narrow(axis, start, stop - start)


def _mean_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().mean())


def _facts(results: dict[str, MethodResult]) -> dict[str, MethodFacts]:
    return {
        name: MethodFacts(found.seconds, found.lag, found.gain, found.scores)
        for name, found in results.items()
    }


def _version(package: str) -> str | None:
    """Installed version, or None: PESQ needs a C compiler, so it is not on every machine."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def earlier_sounds(stem: str, folder: Path) -> list[str]:
    """Files of the methods of an earlier run, as its ``analysis.json`` in ``folder`` lists them.

    Its other files have names that every run gives them again.
    """
    try:
        text = (folder / f"{stem}_analysis.json").read_text(encoding="utf-8")
        names = [wav_name(stem, method) for method in json.loads(text)["methods"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # there was none, or something else of that name
    return [name for name in names if not {"/", "\\", "\0"} & set(name)]


def original_name(stem: str) -> str:
    """File name of what was compared."""
    return f"{stem}_original.wav"


def wav_name(stem: str, method: str) -> str:
    """File name of a method's sound."""
    return f"{stem}_{method}_reconstruction.wav"
