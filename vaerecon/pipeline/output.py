"""Names of the files that a run writes, and the folder that they appear in."""

import json
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from vaerecon.utils.files import whole_folder


def result_folder(folder: Path, stem: str) -> AbstractContextManager[Path]:
    """Return a context with a temporary folder, whose files then move to ``folder`` together.

    Files of an earlier run of the same clip (``stem``) are replaced; other files stay.
    """
    return whole_folder(folder, partial(_earlier_sounds, stem))


def _earlier_sounds(stem: str, folder: Path) -> list[str]:
    """Return names of sounds of an earlier run, by the methods in its ``analysis.json``.

    The other files have the same names in every run.
    """
    try:
        text = (folder / analysis_name(stem)).read_text(encoding="utf-8")
        methods = json.loads(text)["methods"]
        names = [wav_name(stem, method, through) for method in methods for through in (True, False)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # no earlier run, or another file of that name
    return [name for name in names if not {"/", "\\", "\0"} & set(name)]


def earlier_wavs(stem: str, folder: Path) -> list[str]:
    """Return names of the sounds of all methods for the clip ``stem`` in ``folder``."""
    ends = tuple(wav_name("", "", through_vae)[1:] for through_vae in (True, False))
    return [p.name for p in folder.glob("*.wav") if p.name.startswith(f"{stem}_")
            and p.name.endswith(ends)]  # fmt: skip


def original_name(stem: str) -> str:
    """Return the file name of the reference sound."""
    return f"{stem}_original.wav"


def wav_name(stem: str, method: str, through_vae: bool = True) -> str:
    """Return the file name of a method's sound."""
    return f"{stem}_{method}_{'reconstruction' if through_vae else 'without_vae'}.wav"


def analysis_name(stem: str) -> str:
    """Return the file name of the numbers."""
    return f"{stem}_analysis.json"


def picture_name(stem: str) -> str:
    """Return the file name of the spectrograms."""
    return f"{stem}_spectrograms.png"
