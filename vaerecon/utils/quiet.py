"""Silence the short progress bars and the advice that diffusers and transformers print."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Make diffusers and transformers report only errors within the block."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        yield
    finally:
        for library, (verbosity, bar) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()
