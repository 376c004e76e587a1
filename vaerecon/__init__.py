"""Show, play and measure what AudioLDM2's VAE does to sound.

Samples become a log-mel, a latent, a log-mel and samples again::

    samples [B, N]  --mel-->  log-mel [B, T, 64]  --encode-->  latent [B, 8, T/4, 16]
                                                                   | decode
    samples [B, N]  <--vocoder | phase--  log-mel [B, T, 64]  <----+

Example
-------
>>> import vaerecon as vr
>>> clip = vr.load_audio("song.mp3", max_length=10)
>>> pipe = vr.ReconstructionPipeline.from_pretrained("tiny")
>>> result = pipe(clip, methods=["vocoder", "griffinlim"])

``import vaerecon`` is fast: each public name is imported when it is first used, so that the
command line prints ``--help`` and errors without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaerecon.utils.numba_cache import ensure_cache

if TYPE_CHECKING:
    from . import methods, metrics
    from .audio.clip import Clip, load_audio, write_wav
    from .codec.latent_codec import LatentCodec
    from .comparison.finished import evaluate_files
    from .comparison.grid import sweep
    from .comparison.run import compare
    from .mel.config import MelConfig
    from .mel.diagnosis import diagnose_mel
    from .mel.front_end import log_mel, naive_log_mel
    from .pipeline.pipeline import ReconstructionPipeline
    from .pipeline.result import Reconstruction
    from .streaming.stream import Stream
    from .utils.plugins import load_plugin

__version__ = "0.2.0"  # setuptools reads it here for the package metadata

__all__ = [
    "Clip",
    "LatentCodec",
    "MelConfig",
    "Reconstruction",
    "ReconstructionPipeline",
    "Stream",
    "compare",
    "diagnose_mel",
    "evaluate_files",
    "load_audio",
    "load_plugin",
    "log_mel",
    "methods",
    "metrics",
    "naive_log_mel",
    "sweep",
    "write_wav",
]

# Public name -> module that defines it. A public name must not be that of a submodule: importing
# the submodule would replace it. Hence `compare` comes from `comparison`.
_MODULE_OF = {
    "Clip": "audio.clip",
    "load_audio": "audio.clip",
    "write_wav": "audio.clip",
    "MelConfig": "mel.config",
    "diagnose_mel": "mel.diagnosis",
    "log_mel": "mel.front_end",
    "naive_log_mel": "mel.front_end",
    "Reconstruction": "pipeline.result",
    "ReconstructionPipeline": "pipeline.pipeline",
    "LatentCodec": "codec.latent_codec",
    "Stream": "streaming.stream",
    "compare": "comparison.run",
    "evaluate_files": "comparison.finished",
    "sweep": "comparison.grid",
    "load_plugin": "utils.plugins",
}
_SUBMODULES = ("methods", "metrics")

ensure_cache()  # before anything imports numba


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")  # also sets the attribute of this package
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # later accesses do not call this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
