"""Removal of the machine's paths from outputs.

Tracebacks, warnings and papermill's metadata contain paths of the machine. Each known folder is
replaced: ``~/kit/.venv/lib/python3.12/site-packages/a/b.py`` becomes ``site-packages/a/b.py``.
"""

import re
import site
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import vaerecon

PICTURES = ("image/png", "image/jpeg")


def path_scrubber(inputs: Iterable[Path] = (), scratch: Path | None = None) -> Callable[[str], str]:
    """A function that removes the machine's paths from a text.

    Each of ``inputs`` becomes its name, ``scratch``, the run's working folder, becomes ``.``.
    """
    places = _places() | {path.absolute(): path.name for path in inputs}
    if scratch is not None:
        places[scratch] = "."
    words = {
        spelling: word
        for place, word in places.items()
        if len(place.parts) > 1  # home or the working folder can be the root itself
        for spelling in _spellings(place)
    }
    longest_first = sorted(words, key=len, reverse=True)
    # A path begins after a colour code or a character that is not of base64, since an embedded
    # sound can contain "/tmp/"; it ends where its last name ends.
    pattern = re.compile(
        r"(\x1b\[[0-9;]*m|(?<![A-Za-z0-9+/=]))(?:file://)?"
        f"({'|'.join(map(re.escape, longest_first))})(?![\\w-])"
    )
    # IPython's temporary file for a cell; the numbers change at every run
    cell_file = re.compile(r"\btmp[/\\]+ipykernel_\d+[/\\]+\d+\.py")

    def scrub(text: str) -> str:
        if not any(spelling in text for spelling in longest_first):
            return text
        text = pattern.sub(lambda match: match[1] + words[match[2]], text)
        return cell_file.sub("cell", text)

    return scrub


def scrub_strings(value: Any, scrub: Callable[[str], str]) -> Any:
    """The same nested value with every string in it scrubbed, pictures left alone."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [scrub_strings(item, scrub) for item in value]
    if isinstance(value, dict):
        kept = {k: v if k in PICTURES else scrub_strings(v, scrub) for k, v in value.items()}
        return type(value)(kept)
    return value


def _places() -> dict[Path, str]:
    """Known folders, and their replacements."""
    return {
        Path.home(): "~",
        Path.cwd(): ".",
        Path(tempfile.gettempdir()): "tmp",
        Path(sys.base_prefix): "python",
        Path(sys.prefix): "python",
        Path(sysconfig.get_path("stdlib")): "python",
        Path(sysconfig.get_path("purelib")): "site-packages",
        Path(sysconfig.get_path("platlib")): "site-packages",
        Path(site.getusersitepackages()): "site-packages",
        Path(vaerecon.__file__).parent: "vaerecon",
    }


def _spellings(place: Path) -> set[str]:
    """Ways in which programs write a folder's path."""
    home = Path.home()
    found = {place, place.resolve()}
    if place != home and place.is_relative_to(home):
        found.add(Path("~") / place.relative_to(home))  # as IPython's tracebacks do
    texts = {form for path in found for form in (str(path), path.as_posix())}
    return texts | {repr(text)[1:-1] for text in texts}  # repr doubles the backslashes of Windows
