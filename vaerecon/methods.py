"""Registry of the methods that synthesise samples from a log-mel: one function each, by name.

A method is a function ``(log_mel, n_samples, generator) -> samples``: ``[T, 64]`` or
``[B, T, 64]`` nepers in training framing to ``[N]`` or ``[B, N]`` float32 at the front-end's level
(peak 0.5). It registers with the names of the keyword arguments that it needs besides: ``vocoder``
and ``lag`` (the checkpoint's), ``network`` (for ``fast``, if a checkpoint has its own),
``original`` (the normalised samples, for ceilings and references only), or ``config``, the settings
of the mel. A method without ``config`` works with AudioLDM2's mel only, one with it with any mel.

To add a method, register a function::

    from vaerecon.methods import method

    @method("my_method", "My method", "an idea about phase")
    def my_method(log_mel, n_samples, generator):
        ...

Notebook: ``04_method_comparison``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaerecon.mel.config import AUDIOLDM_MEL, MelConfig
from vaerecon.utils.plugins import Registry

if TYPE_CHECKING:
    from torch import Generator, Tensor

Synthesis = Callable[..., "Tensor"]  # (log_mel, n_samples, generator) -> samples


@dataclass(frozen=True)
class Method:
    """A registered method."""

    name: str
    label: str  # for plots and tables
    summary: str  # one line, to help users choose
    function: Synthesis
    needs: tuple[str, ...] = ()  # keyword arguments beyond (log_mel, n_samples, generator)
    uses_mel: bool = True  # False: the VAE cannot change the result

    @property
    def reference_only(self) -> bool:
        """Whether the method is only for comparison and cannot synthesise from a mel alone."""
        return not self.uses_mel or "original" in self.needs

    @property
    def any_mel(self) -> bool:
        """Whether the method works with mels of other settings than AudioLDM2's."""
        return not self.uses_mel or "config" in self.needs


METHODS: Registry[Method] = Registry("method", ("all", "latent", "opus", "mp3", "vorbis"))
NEEDS = ("vocoder", "lag", "network", "original", "config")  # keyword arguments of methods
GRIFFIN_LIM_STEPS = 22  # iterations of `griffinlim`; more gain little (benchmarks.phase)


def method(
    name: str, label: str, summary: str, needs: tuple[str, ...] = (), uses_mel: bool = True
) -> Callable[[Synthesis], Synthesis]:
    """Register the decorated function as the method ``name``.

    Raises ValueError if the name is taken, or ``needs`` has a name that is not in :data:`NEEDS`.
    """
    if unknown := sorted(set(needs) - set(NEEDS)):
        raise ValueError(f"needs: got {unknown}, expected names from {list(NEEDS)}")

    def register(function: Synthesis) -> Synthesis:
        METHODS.add(name, Method(name, label, summary, function, needs, uses_mel))
        return function

    return register


def get_method(name: str) -> Method:
    """Return the method called ``name``; ValueError, with all names, if there is none."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"method: got {name!r}, expected one of {', '.join(METHODS)}{hint}")
    return METHODS[name]


def select_methods(names: str | Iterable[str]) -> list[str]:
    """Return the names of the chosen methods, checked, in the given order, without duplicates.

    ``names`` are ``"all"``, ``"vocoder,griffinlim"``, or an iterable of names.
    """
    if isinstance(names, str):
        names = list(METHODS) if names == "all" else [n.strip() for n in names.split(",")]
    chosen = list(dict.fromkeys(get_method(n).name for n in names if n))
    if not chosen:
        raise ValueError(f"methods: got none, expected at least one of {', '.join(METHODS)}")
    return chosen


@method("fast", "Fast", "the kit's own small network for magnitudes, then a few Griffin-Lim steps",
        needs=("network",))  # fmt: skip
def _fast(log_mel: Tensor, n_samples: int, generator: Generator, *, network: Any = None) -> Tensor:
    from vaerecon.models import fast_vocoder

    network = network or fast_vocoder.bundled_network(str(log_mel.device))
    return fast_vocoder.synthesize(network, log_mel, n_samples, generator)


@method("griffinlim", "Griffin-Lim", needs=("config",),
        summary="fast Griffin-Lim constrained to the mel; the kit's best method without weights",
        )  # fmt: skip
def _griffinlim(
    log_mel: Tensor, n_samples: int, generator: Generator, *, config: MelConfig = AUDIOLDM_MEL
) -> Tensor:
    from vaerecon.phase import retrieval as phase

    start = phase.mel_to_magnitude(log_mel, config, n_iter=5)  # later steps correct it again
    return phase.griffin_lim(
        start, n_samples, log_mel=log_mel, n_iter=GRIFFIN_LIM_STEPS, generator=generator,
        config=config,
    )  # fmt: skip


@method("vocoder", "Vocoder", "the checkpoint's own HiFi-GAN", needs=("vocoder", "lag"))
def _vocoder(
    log_mel: Tensor, n_samples: int, generator: Generator, *, vocoder: Any, lag: int
) -> Tensor:
    from vaerecon.models.vocoder import vocode

    return vocode(vocoder, log_mel, n_samples, lag=lag)


@method("hybrid", "Vocoder + Griffin-Lim", needs=("vocoder", "lag"),
        summary="the vocoder's phase, refined by a few Griffin-Lim steps towards the mel",
        )  # fmt: skip
def _hybrid(
    log_mel: Tensor, n_samples: int, generator: Generator, *, vocoder: Any, lag: int
) -> Tensor:
    from vaerecon.phase import retrieval as phase

    start = _vocoder(log_mel, n_samples, generator, vocoder=vocoder, lag=lag)
    return phase.refine(start, log_mel.to(start.device))


@method("admm", "ADMM", "phase retrieval by ADMM, constrained to the mel too", needs=("config",))
def _admm(
    log_mel: Tensor, n_samples: int, generator: Generator, *, config: MelConfig = AUDIOLDM_MEL
) -> Tensor:
    from vaerecon.phase import retrieval as phase

    start = phase.mel_to_magnitude(log_mel, config)
    return phase.admm(start, n_samples, log_mel=log_mel, generator=generator, config=config)


@method("librosa", "librosa", needs=("config",),
        summary="librosa.feature.inverse.mel_to_audio at its defaults, as the original guide did",
        )  # fmt: skip
def _librosa(
    log_mel: Tensor, n_samples: int, generator: Generator, *, config: MelConfig = AUDIOLDM_MEL
) -> Tensor:
    from vaerecon.audio.conversion import numpy_defaults
    from vaerecon.phase.references import librosa_mel_to_audio

    with numpy_defaults():
        return librosa_mel_to_audio(log_mel, n_samples, generator=generator, config=config)


@method("silence", "Silence", "digital silence: shows how a metric scores no sound", uses_mel=False)
def _silence(log_mel: Tensor, n_samples: int, generator: Generator) -> Tensor:
    return log_mel.new_zeros((*log_mel.shape[:-2], n_samples))


@method("oracle_phase", "Oracle phase", needs=("original", "config"),
        summary="ceiling: constrained to the mel, with the original's phase at every step",
        )  # fmt: skip
def _oracle_phase(
    log_mel: Tensor, n_samples: int, generator: Generator, *,
    original: Tensor, config: MelConfig = AUDIOLDM_MEL,
) -> Tensor:  # fmt: skip
    from vaerecon.phase import references

    return references.oracle_phase(log_mel, original, config=config)


@method("oracle_magnitude", "Oracle magnitude", needs=("original",), uses_mel=False,
        summary="reference: the original's magnitude with the phase of fast Griffin-Lim",
        )  # fmt: skip
def _oracle_magnitude(
    log_mel: Tensor, n_samples: int, generator: Generator, *, original: Tensor
) -> Tensor:
    from vaerecon.phase import references

    return references.oracle_magnitude(original, generator=generator)
