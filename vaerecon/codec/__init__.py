"""Latent to bits and back: a transform codec with fixed tables, and its files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["decode_file", "encode_file"],
        "latent_codec": ["Header", "LatentCodec"],
    },
)
