"""Read and write sound files: decoding, number formats, resampling, level, buffers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clip": ["Clip", "load_audio", "stream_audio", "write_wav"],
        "samples": ["as_samples", "normalize_level"],
    },
)
