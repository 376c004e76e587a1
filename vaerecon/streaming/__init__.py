"""The flow block by block, in real time, with a latency that is known."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"stream": ["Stream"]},
)
