"""Which versions of the libraries are installed."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

# those that a number of analysis.json goes through, in the order of the flow
LIBRARIES = (
    "vaerecon", "soundfile", "soxr", "numpy", "scipy", "librosa", "torch", "diffusers",
    "transformers", "pesq", "pystoi", "visqol-python",
)  # fmt: skip


def installed_versions(libraries: Iterable[str] = LIBRARIES) -> dict[str, str | None]:
    """Python's version and those of ``libraries``; None for what is not installed.

    PESQ needs a C compiler, so it is not on every machine.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
