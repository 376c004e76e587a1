"""Log-mel front-end of AudioLDM2's models: settings, filters, STFT, log-mel, diagnosis."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["AUDIOLDM_MEL", "MelConfig"],
        "diagnosis": ["diagnose_mel"],
        "front_end": ["check_log_mel", "log_mel", "naive_log_mel"],
    },
)
