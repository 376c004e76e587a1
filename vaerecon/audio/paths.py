"""Check paths of sound files, and find the sound files of a folder by their suffixes."""

import os
import re
import stat
from pathlib import Path

from vaerecon.utils.files import name_to_text

# suffixes of sound files that a search of a folder finds; a file given by name may have any
KNOWN = (  # first those that libsndfile reads, then those that ffmpeg reads
    "wav wave bwf rf64 w64 flac ogg oga opus mp3 mp2 aiff aif aifc au snd caf voc sph nist ircam "
    "sf svx 8svx avr pvf paf htk sd2 "
    "m4a m4b m4r mp4 m4v mov 3gp 3gpp 3g2 aac wma wmv asf webm weba mkv mka avi flv amr awb wv ape "
    "tta tak mpc ac3 eac3 dts dsf mpga spx ogv mpg mpeg vob ts mts m2ts"
)
SUFFIXES = frozenset(f".{suffix}" for suffix in KNOWN.split())
# two letters or more, so not a Windows drive; pathlib.Path removes the second slash
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.+)", re.DOTALL)


def sounds_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return sound files (by suffix) and other files in a folder tree, without hidden ones."""
    sounds: list[Path] = []
    others: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            (sounds if path.suffix.lower() in SUFFIXES else others).append(path)
    return sounds, others


def left_out(files: list[Path], shown: int = 5) -> str:
    """Return a message about the files of a folder that were left out: their number and names."""
    if not files:
        return ""
    names = ", ".join(plain_text(path.name) for path in files[:shown])
    more = f" and {len(files) - shown} more" if len(files) > shown else ""
    return f": {len(files)} without the suffix of a sound left out ({names}{more})"


def plain_text(text: str) -> str:
    """Return a file name, or a text that contains one, with undecodable bytes escaped."""
    try:
        return name_to_text(text, errors="strict")
    except UnicodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise ``ValueError`` if ``path`` is not a local path, such as samples or a URL."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(
            f"path: got {type(path).__name__}, expected the name of a sound file (str or Path); "
            "for samples in memory use vaerecon.Clip.from_samples(samples, sample_rate), for an "
            "open file vaerecon.Clip.from_samples(*soundfile.read(file))"
        )
    address = ADDRESS.fullmatch(os.fspath(path))
    if address is None or os.path.lexists(path):
        return
    scheme, rest = address.groups()
    url = f"{scheme}://{rest}"
    if scheme.lower() == "file":
        raise ValueError(f"got the address {url!r}, expected a path; write '/{rest}'")
    name = os.path.basename(rest.partition("?")[0]) or "the file"
    raise ValueError(
        f"got the address {url!r}, expected a file on this machine; download it first "
        f"(curl -LO {url!r}) and write {name!r}"
    )


def check_sound_file(path: str | os.PathLike[str]) -> str:
    """Return the name of a readable file for messages; OSError, or ValueError if it is empty."""
    name = repr(os.fspath(path))
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"got the folder {name}, expected a sound file; name one in it")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"got {name}, expected a sound file; it is a pipe or a device")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise FileNotFoundError(
            f"got {name}, expected a sound file; there is none: check the name and the folder"
        ) from None
    except PermissionError:
        raise PermissionError(
            f"got {name}, expected a file that may be read; change its permissions"
        ) from None
    if not status.st_size:
        raise ValueError(f"got {name}, expected a sound file; it is empty (0 bytes)")
    return name
