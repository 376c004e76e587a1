"""The reconstruction pipeline (audio, log-mel, latent, log-mel, audio) and its result."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pipeline": ["ReconstructionPipeline"],
        "result": ["Reconstruction"],
    },
)
