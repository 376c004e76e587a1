"""What a reconstruction gives: sounds, mels, latent, numbers, and the files that hold them."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.audio import Clip, write_wav
from vaerecon.mel import AUDIOLDM_MEL
from vaerecon.outputs import whole_folder

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from vaerecon.metrics import Scores

SCHEMA = 1  # of analysis.json; changes when a key changes its meaning
LIBRARIES = ("vaerecon", "torch", "diffusers", "transformers", "librosa", "numpy", "pesq", "pystoi")


@dataclass(frozen=True)
class ModelFacts:
    """Which weights made a result, and where they ran."""

    variant: str  # "tiny", "music", ..., or "custom"
    source: str  # hub id or folder name, never a path
    revision: str | None  # commit on the hub
    device: str
    dtype: str
    vae_parameters: int
    vocoder_parameters: int


@dataclass(frozen=True)
class MethodResult:
    """One method's sound and how it scored."""

    samples: torch.Tensor  # [N] float32, at the clip's level
    seconds: float  # wall-clock time of log-mel to samples
    lag: int  # samples by which the output was late and was moved back
    gain: float  # factor from the model's level (peak 0.5) to the clip's
    scores: Scores


@dataclass(frozen=True)
class Reconstruction:
    """A clip that went through the VAE and came back by several methods."""

    clip: Clip
    reference: torch.Tensor  # [N] float32: the clip with its mean removed; what is compared
    mel: torch.Tensor  # [T, 64] nepers, of the clip
    latent: torch.Tensor  # [8, ceil(T/4), 16]
    mel_decoded: torch.Tensor  # [T, 64] nepers, as the VAE returned it
    methods: dict[str, MethodResult]  # from mel_decoded
    without_vae: dict[str, MethodResult]  # from mel; empty if not asked for
    model: ModelFacts
    seed: int

    @property
    def audio(self) -> dict[str, torch.Tensor]:
        """Method name to samples ``[N]``, float32, at the clip's level."""
        return {name: found.samples for name, found in self.methods.items()}

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
        """Everything that was measured, as in ``<stem>_analysis.json`` (schema 1).

        A number that could not be computed is None; ``"notes"`` beside it says why.
        """
        n_latent, n_samples = self.latent.numel(), len(self.reference)
        frames = self.mel.shape[0]
        seconds = frames * AUDIOLDM_MEL.hop_length / self.clip.sample_rate
        return {
            "schema": SCHEMA,
            "clip": {
                "name": self.clip.name,
                "duration_s": self.clip.duration,
                "sample_rate": self.clip.sample_rate,
                "sha256": hashlib.sha256(self.clip.samples.astype("<f4").tobytes()).hexdigest(),
            },
            "model": asdict(self.model),
            "mel": {
                "frames": frames,
                "vae_mae_nepers": float((self.mel_decoded - self.mel).abs().mean()),
            },
            "latent": {
                "shape": list(self.latent.shape),
                "values_per_second": n_latent / seconds,
                "ratio_to_samples": n_samples / n_latent,
                "ratio_to_mel": self.mel.numel() / n_latent,
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

    def _method_entry(self, found: MethodResult, file: str | None) -> dict[str, Any]:
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

    def save(self, folder: str | Path, stem: str | None = None) -> list[Path]:
        """Write wav files, ``analysis.json`` and the picture: all of them, or nothing.

        Parameters
        ----------
        folder
            Created if need be; other files in it stay.
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
        from vaerecon.lab.plots import plot_reconstruction, save_figure

        stem = stem or self.clip.name
        folder = Path(folder)
        with whole_folder(folder) as scratch:
            write_wav(scratch / f"{stem}_original.wav", self.reference, self.clip.sample_rate)
            for name, found in self.methods.items():
                if name != "silence":
                    write_wav(scratch / wav_name(stem, name), found.samples, self.clip.sample_rate)
            text = json.dumps(self.analysis(stem), indent=2, allow_nan=False, ensure_ascii=False)
            (scratch / f"{stem}_analysis.json").write_text(text + "\n", encoding="utf-8")
            save_figure(plot_reconstruction(self)[0], scratch / f"{stem}_spectrograms.png")
            names = sorted(p.name for p in scratch.iterdir())
        return [folder / name for name in names]


def _version(package: str) -> str | None:
    """Installed version, or None: PESQ needs a C compiler, so it is not on every machine."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def wav_name(stem: str, method: str) -> str:
    """File name of a method's sound."""
    return f"{stem}_{method}_reconstruction.wav"
