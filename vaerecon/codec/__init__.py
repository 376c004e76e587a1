"""Files of latents: compressed by a transform codec with fixed tables, or uncompressed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["decode_file", "decode_latents", "encode_file", "encode_latents"],
        "latent_codec": ["Header", "LatentCodec"],
    },
)
