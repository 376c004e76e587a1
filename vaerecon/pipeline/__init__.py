"""The whole flow as one object, and what it gives."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pipeline": ["ReconstructionPipeline"],
        "result": ["Reconstruction"],
    },
)
