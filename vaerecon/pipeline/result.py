"""The result of a reconstruction: numbers, and in memory also sounds, mels and the latent."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaerecon.audio.buffers import MemoryTrack, Track
from vaerecon.audio.clip import write_wav
from vaerecon.mel.config import AUDIOLDM_MEL
from vaerecon.mel.front_end import log_mel
from vaerecon.methods import get_method
from vaerecon.metrics.recommendation import recommend_for_clip
from vaerecon.metrics.scores import OTHER, PANELS, SPEECH
from vaerecon.pipeline import output
from vaerecon.pipeline.facts import NO_ARRAYS, ClipFacts, MethodResult, ModelFacts, Tracks, whole
from vaerecon.utils.files import check_stem, text_to_name
from vaerecon.utils.versions import installed_versions

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure


SCHEMA = 1  # version of analysis.json; changes when a key changes its meaning
PICTURE_SECONDS = 30  # s; of a longer clip the picture shows its loudest section of this length


@dataclass(frozen=True)
class Reconstruction:
    """The reconstructions of a clip, through the VAE and by several methods, and their scores.

    :meth:`~vaerecon.ReconstructionPipeline.reconstruct_file` writes the sounds and returns the
    numbers only: then ``reference``, ``mel``, ``latent``, ``mel_decoded``, ``audio``, and methods
    that use them, raise a ``ValueError``.
    """

    clip: ClipFacts
    frames: int  # of the mel, T
    vae_mae: float  # nepers; mean absolute difference between the clip's mel and the VAE's
    latent_shape: list[int]  # [8, ceil(T/4), 16]
    methods: dict[str, MethodResult]  # through the VAE
    without_vae: dict[str, MethodResult]  # from the original mel; empty if not requested
    model: ModelFacts
    seed: int
    keep_without_vae: bool = False  # whether sounds without the VAE are written too
    tracks: Tracks | None = None
    files: tuple[Path, ...] = ()  # written files

    @property
    def _tracks(self) -> Tracks:
        if self.tracks is None:
            raise ValueError(NO_ARRAYS)
        return self.tracks

    @property
    def reference(self) -> torch.Tensor:
        """Reference of the metrics: the clip with its mean removed, ``[N]`` float32."""
        return whole(self._tracks.reference)

    @property
    def mel(self) -> torch.Tensor:
        """Log-mel of the clip, ``[T, 64]`` nepers."""
        return whole(self._tracks.mel)

    @property
    def latent(self) -> torch.Tensor:
        """Latent of the clip, ``[8, ceil(T/4), 16]``, unscaled."""
        return whole(self._tracks.latent)

    @property
    def mel_decoded(self) -> torch.Tensor:
        """Log-mel decoded by the VAE, ``[T, 64]`` nepers."""
        return whole(self._tracks.mel_decoded)

    @property
    def audio(self) -> dict[str, torch.Tensor]:
        """Samples ``[N]`` by method name, float32, at the clip's level."""
        return {name: found.samples for name, found in self.methods.items()}

    @property
    def latent_values(self) -> int:
        """Number of values in the latent."""
        return math.prod(self.latent_shape)

    @property
    def ratio_to_mel(self) -> float:
        """Number of values in the mel per value in the latent."""
        return self.frames * AUDIOLDM_MEL.n_mels / self.latent_values

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield :meth:`MethodResult.record` of each method and source, with their names."""
        for through_vae, group in ((True, self.methods), (False, self.without_vae)):
            for name, found in group.items():
                record = found.record(self.clip.duration)
                yield {"method": name, "through_vae": through_vae, **record}

    @cached_property
    def table(self) -> pd.DataFrame:
        """Table with a row per method and source (``vae`` True: through the VAE)."""
        import pandas as pd

        columns = ("method", "through_vae", "seconds", "real_time_factor")
        rows = [{key: row[key] for key in columns} | row["metrics"] for row in self.rows()]
        table = pd.DataFrame(rows).rename(columns={"through_vae": "vae"})
        return table.set_index(["method", "vae"]).astype(float)

    @property
    def recommendation(self) -> dict[str, dict[str, str | None]]:
        """Best ``"method"`` through the VAE and its ``"basis"``, for ``"speech"`` and ``"other"``.

        See :mod:`vaerecon.metrics.recommendation`. It is based on this clip only.
        """
        able = [name for name in self.methods if not get_method(name).reference_only]
        names = {get_method(name).label: name for name in able}
        scores = {label: self.methods[name].scores for label, name in names.items()}
        found = {}
        for key, panel in (("speech", SPEECH), ("other", OTHER)):
            label, basis = recommend_for_clip(scores, panel)
            found[key] = {"method": names[label] if label else None, "basis": basis}
        return found

    @property
    def recommendation_text(self) -> str:
        """:attr:`recommendation` as text, without a full stop."""
        parts = []
        for panel, found in zip(PANELS, self.recommendation.values(), strict=True):
            label = get_method(found["method"]).label if found["method"] else "no method"
            parts.append(f"for {panel} {label} ({found['basis']})")
        return "; ".join(parts)

    def analysis(self, stem: str) -> dict[str, Any]:
        """Return the contents of ``<stem>_analysis.json`` (schema 1).

        A number that could not be computed is None, with the reason under ``"notes"``.
        """
        seconds = self.frames * AUDIOLDM_MEL.hop_length / self.clip.sample_rate
        groups: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for row in self.rows():
            name, through_vae = row.pop("method"), row.pop("through_vae")
            file = self.sound_file(stem, name, through_vae)
            if file is None:
                reason = "not written: only methods through the VAE are, and not silence"
                row["notes"]["file"] = reason
            groups[through_vae][name] = {"file": file, **row}
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
            "methods": groups[True],
            "without_vae": groups[False],
            "recommendation": self.recommendation,
            "versions": installed_versions(),
            "seed": self.seed,
        }

    def excerpt(self, seconds: int = PICTURE_SECONDS) -> Reconstruction:
        """Return the result in memory, of the loudest ``seconds`` if the clip is longer.

        For a longer clip the name states the section, and the scores of the whole clip are omitted.
        """
        rate, hop = self.clip.sample_rate, AUDIOLDM_MEL.hop_length
        ratio = math.ceil(self.frames / self.latent_shape[-2])
        clip, samples, frames = self.clip, (0, self.clip.n_samples), (0, self.frames)
        is_whole = clip.n_samples <= seconds * rate
        if not is_whole:
            second = self._loudest(seconds)
            samples = rate * second, rate * (second + seconds)
            frames = samples[0] // hop, samples[1] // hop
            name = f"{clip.name} (its loudest {seconds} s, from {second} s on)"
            clip = ClipFacts(name, rate, seconds * rate, "")
        positions = frames[0] // ratio, math.ceil(frames[1] / ratio)

        def part(track: Track, start: int, stop: int) -> MemoryTrack:
            return MemoryTrack(track.read(start, stop), track.axis)

        methods = {}
        for name, found in self.methods.items():
            if found.track is not None:
                scores = found.scores if is_whole else type(found.scores)({})
                methods[name] = replace(found, track=part(found.track, *samples), scores=scores)
        spans = (samples, frames, positions, frames)
        tracks = Tracks(
            *(part(track, *span) for track, span in zip(self._tracks, spans, strict=True))
        )
        n_frames = frames[1] - frames[0]
        return replace(
            self, clip=clip, frames=n_frames, tracks=tracks, methods=methods, without_vae={}
        )

    def without_arrays(self, files: Iterable[Path]) -> Reconstruction:
        """Return the numbers without the arrays, of a run that wrote ``files``."""
        methods, without_vae = (
            {name: replace(found, track=None) for name, found in group.items()}
            for group in (self.methods, self.without_vae)
        )
        return replace(
            self, methods=methods, without_vae=without_vae, tracks=None, files=tuple(files)
        )

    def _loudest(self, seconds: int) -> int:
        """Return the start, in whole seconds, of the section with the most energy."""
        rate, reference = self.clip.sample_rate, self._tracks.reference
        starts = range(0, self.clip.n_samples // rate * rate, rate)
        energy = [float(reference.read(i, i + rate).double().square().sum()) for i in starts]
        sums = [sum(energy[i : i + seconds]) for i in range(len(energy) - seconds + 1)]
        return sums.index(max(sums))

    def save(self, folder: str | Path, stem: str | None = None) -> list[Path]:
        """Write wav files, ``analysis.json`` and the picture: all of them, or none.

        Their names begin with ``stem``, by default the clip's name. ``folder`` is created if
        needed; files of an earlier run of the same clip are replaced, other files stay.

        Raises
        ------
        OSError
            If the folder cannot be written or the disk is full; an earlier result is kept.
        """
        stem = check_stem(stem or self.clip.name)
        folder, start = Path(folder), text_to_name(stem)
        with output.result_folder(folder, start) as scratch:
            self.write_sounds(scratch, start)
            self.write_numbers(scratch, stem)
            names = sorted(p.name for p in scratch.iterdir())
        return [folder / name for name in names]

    def sound_file(self, stem: str, method: str, through_vae: bool) -> str | None:
        """Return the file name of a method's sound; None for silence and for sounds not kept."""
        if method == "silence" or not (through_vae or self.keep_without_vae):
            return None
        return output.wav_name(stem, method, through_vae or not get_method(method).uses_mel)

    def write_sounds(self, folder: Path, start: str) -> None:
        """Write the reference and the reconstructions; file names begin with ``start``."""
        write_wav(folder / output.original_name(start), self.reference, self.clip.sample_rate)
        for through_vae, group in ((True, self.methods), (False, self.without_vae)):
            for name, found in group.items():
                if file := self.sound_file(start, name, through_vae):
                    write_wav(folder / file, found.samples, self.clip.sample_rate)

    def write_numbers(self, folder: Path, stem: str) -> None:
        """Write ``analysis.json`` and the picture into ``folder``."""
        from vaerecon.plots import save_figure

        text = json.dumps(self.analysis(stem), indent=2, allow_nan=False, ensure_ascii=False)
        start = text_to_name(stem)
        (folder / output.analysis_name(start)).write_text(text + "\n", encoding="utf-8")
        save_figure(self.excerpt().plot()[0], folder / output.picture_name(start))

    def plot(self) -> tuple[Figure, np.ndarray]:
        """Draw the log-mels of the clip, of the VAE and of each method's sound in one figure."""
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
