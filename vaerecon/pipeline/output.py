"""The files that a run writes, and their names."""

import json
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from vaerecon.utils.files import whole_folder


def result_folder(folder: Path, stem: str) -> AbstractContextManager[Path]:
    """A scratch folder that becomes the result of the clip ``stem`` in ``folder``.

    What an earlier run of the same clip wrote there is replaced; other files stay.
    """
    return whole_folder(folder, partial(_earlier_sounds, stem))


def _earlier_sounds(stem: str, folder: Path) -> list[str]:
    """Sounds of an earlier run, as its ``analysis.json`` in ``folder`` lists its methods.

    Its other files have the same names in every run.
    """
    try:
        text = (folder / analysis_name(stem)).read_text(encoding="utf-8")
        methods = json.loads(text)["methods"]
        names = [wav_name(stem, method, through) for method in methods for through in (True, False)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # there was none, or something else of that name
    return [name for name in names if not {"/", "\\", "\0"} & set(name)]


def earlier_wavs(stem: str, folder: Path) -> list[str]:
    """Sounds of any methods for the clip ``stem`` in ``folder``."""
    ends = tuple(wav_name("", "", through_vae)[1:] for through_vae in (True, False))
    return [p.name for p in folder.glob("*.wav") if p.name.startswith(f"{stem}_")
            and p.name.endswith(ends)]  # fmt: skip


def original_name(stem: str) -> str:
    """File name of what was compared."""
    return f"{stem}_original.wav"


def wav_name(stem: str, method: str, through_vae: bool = True) -> str:
    """File name of a method's sound."""
    return f"{stem}_{method}_{'reconstruction' if through_vae else 'without_vae'}.wav"


def analysis_name(stem: str) -> str:
    """File name of the numbers."""
    return f"{stem}_analysis.json"


def picture_name(stem: str) -> str:
    """File name of the spectrograms."""
    return f"{stem}_spectrograms.png"
