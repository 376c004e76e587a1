"""Synthesis from log-mels without learned weights: mel inversion, phase retrieval, references."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "mel_inversion": ["mel_to_magnitude"],
        "retrieval": ["admm", "griffin_lim", "refine"],
        "references": ["librosa_mel_to_audio", "oracle_magnitude", "oracle_phase"],
    },
)
