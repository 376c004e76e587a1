"""Versions of the installed libraries."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

# libraries that can change a number of analysis.json, in the order of processing
LIBRARIES = (
    "vaerecon", "soundfile", "soxr", "numpy", "scipy", "librosa", "torch", "diffusers",
    "transformers", "pesq", "pystoi", "visqol-python",
)  # fmt: skip


def installed_versions(libraries: Iterable[str] = LIBRARIES) -> dict[str, str | None]:
    """Return the versions of Python and of ``libraries``; None for a library that is missing.

    PESQ, for example, needs a C compiler, so it is not on every machine.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
