"""Additions to diffusers' saving and loading: the network in ``fast/``, and fixed statistics.

The network for the method ``fast`` is not a component of the pipeline: it stays float32 when the
pipeline is cast, and most checkpoints have none. It is still saved, loaded and pushed, and so are
the statistics of the VAE's normalisations (:mod:`vaerecon.models.fixed_norms`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from vaerecon.audio.samples import first_seconds
from vaerecon.mel.front_end import log_mel
from vaerecon.models.autoencoder import vae_hash
from vaerecon.models.checkpoints import own_fast
from vaerecon.models.fast_vocoder import MagnitudeNetwork, bundled_network, load_network
from vaerecon.models.fixed_norms import load_norms, measure_norms, save_norms, with_fixed_norms
from vaerecon.models.placement import named_dtype

LOADER = '''"""With this file diffusers loads the model that lies beside it:

DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)

vaerecon.ReconstructionPipeline.from_pretrained(folder) loads it too and runs no code from it.
"""

from vaerecon import ReconstructionPipeline
'''


class CheckpointPipeline(DiffusionPipeline):
    """A diffusers pipeline of ``vae`` and ``vocoder`` that also handles its ``fast/`` folder."""

    def __init__(self) -> None:
        super().__init__()
        self.variant, self.source = "custom", "memory"
        self.revision: str | None = None
        self.fast_folder: Path | None = None  # folder of the checkpoint's network for `fast`
        self._network: MagnitudeNetwork | None = None
        self.folder: Path | None = None  # folder of the checkpoint
        self._norms: tuple[torch.Tensor, str] | None = None  # statistics, hash of the VAE's weights

    @classmethod
    def from_pipe(  # type: ignore[override]
        cls,
        pipeline: DiffusionPipeline,
        *,
        vae: Any = None,
        vocoder: Any = None,
        dtype: str | torch.dtype | None = None,
        torch_dtype: str | torch.dtype | None = None,
    ) -> CheckpointPipeline:
        """Return a pipeline that shares the models of another, such as an ``AudioLDM2Pipeline``.

        ``vae`` and ``vocoder`` replace those of ``pipeline``; ``dtype`` (or ``torch_dtype``) casts
        the shared models. ValueError if a model is missing or does not fit the front-end.
        """
        models = {
            "vae": vae or getattr(pipeline, "vae", None),
            "vocoder": vocoder or getattr(pipeline, "vocoder", None),
        }
        for name, model in models.items():
            if model is None:
                kind = type(pipeline).__name__
                raise ValueError(f"from_pipe: got a {kind} without {name}; pass {name}=...")
        pipe = cls(**models)
        if isinstance(pipeline, CheckpointPipeline):
            pipe.fast_folder = pipeline._own_fast()
            if vae is None:
                pipe.folder, pipe._norms = pipeline.folder, pipeline._norms
            if vae is None and vocoder is None:
                pipe.variant, pipe.source = pipeline.variant, pipeline.source
                pipe.revision = pipeline.revision
        if wanted := named_dtype(dtype, torch_dtype):
            pipe.to(getattr(torch, wanted))
        return pipe

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, **options: Any
    ) -> None:
        """Save the models, the checkpoint's ``fast/``, and the files that diffusers needs.

        ``ReconstructionPipeline.from_pretrained(folder)`` loads the folder again; so does
        ``DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)``. The options are those
        of diffusers: ``variant``, ``max_shard_size``, ``push_to_hub``, ...

        Raises
        ------
        ValueError
            If the folder has the ``fast/`` of another checkpoint, which would be loaded with this.
        """
        if own_fast(save_directory) and self._own_fast() is None:
            raise ValueError(
                f"{Path(save_directory).name}: has a fast/, which this pipeline has not; remove "
                "it, or save to another folder"
            )
        super().save_pretrained(os.fspath(save_directory), *args, **options)

    def save_config(  # type: ignore[override]
        self, save_directory: str | os.PathLike[str], **options: Any
    ) -> None:
        """Write ``model_index.json``, ``pipeline.py``, ``fast/`` and the statistics.

        diffusers calls it when it saves or pushes a pipeline.
        """
        if self._own_fast():
            self._fast_network().save_pretrained(Path(save_directory) / "fast")
        if norms := self.fixed_norms():
            save_norms(*norms, Path(save_directory))
        super().save_config(save_directory, **options)
        index = Path(save_directory) / self.config_name
        values = json.loads(index.read_text(encoding="utf-8"))
        values["_class_name"] = ["pipeline", "ReconstructionPipeline"]  # module and class
        index.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (index.parent / "pipeline.py").write_text(LOADER, encoding="utf-8")

    @torch.no_grad()
    def calibrate(self, clips: str | os.PathLike[str] | Iterable[Any]) -> None:
        """Measure the statistics of the VAE's group normalisations, once, for short windows.

        :class:`vaerecon.Stream` needs them; ``save_pretrained`` saves them; the bundled ``tiny``
        has them. ``clips`` are folders, files or samples similar to the intended use. The first
        30 s of each are used; some minutes of different sounds are enough. Raises ValueError or
        OSError if no clip has at least a second, or one cannot be read.
        """
        mels = (log_mel(clip.samples) for clip in first_seconds(clips, 30))
        self._norms = measure_norms(self.vae, mels), vae_hash(self.vae)

    def fixed_vae(self) -> Any:
        """Return a VAE that shares the weights and uses the statistics of :meth:`calibrate`.

        Raises ValueError if there are none, or they belong to other weights.
        """
        norms = self.fixed_norms()
        if norms is None or norms[1] != vae_hash(self.vae):
            what = "no statistics" if norms is None else "statistics of other VAE weights"
            raise ValueError(
                f"{self.source}: got {what} of the VAE's normalisations; measure them once on "
                "some minutes of sound: pipe.calibrate(clips)"
            )
        return with_fixed_norms(self.vae, norms[0])

    def fixed_norms(self) -> tuple[torch.Tensor, str] | None:
        """Return the statistics of :meth:`calibrate`, or else those in the checkpoint's folder."""
        source = self.folder or self.config.get("_name_or_path")  # see _own_fast
        if self._norms is None and source is not None and Path(source).is_dir():
            self._norms = load_norms(Path(source))
        return self._norms

    def _own_fast(self) -> Path | None:
        """Return the folder of the checkpoint's network for ``fast``, or None if it has none."""
        source = self.config.get("_name_or_path")  # set if diffusers' own from_pretrained was used
        if self.fast_folder is None and source is not None:
            if not Path(source).is_dir():
                raise ValueError(
                    f"fast: DiffusionPipeline does not fetch {source}'s own network; load it with "
                    f"vaerecon.ReconstructionPipeline.from_pretrained({str(source)!r})"
                )
            self.fast_folder = own_fast(source)
        return self.fast_folder

    def _fast_network(self) -> MagnitudeNetwork:
        """Return the checkpoint's network for ``fast``, or the bundled one, which fits all."""
        device = self._execution_device
        folder = self._own_fast()
        if folder is None:
            return bundled_network(str(device))
        if self._network is None:
            self._network = load_network(folder)
        self._network.to(device)
        return self._network
