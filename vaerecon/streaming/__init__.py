"""The pipeline in real time, block by block, with a known latency."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"stream": ["Stream"]},
)
