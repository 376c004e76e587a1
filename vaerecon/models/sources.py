"""Sources of models.

A source is, in this order, a name in :data:`VARIANTS` (``./tiny`` is the folder), an existing
folder that holds ``vae/`` and ``vocoder/``, or a hub id ``owner/name``. Nothing imports torch here.
"""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from vaerecon.models.checkpoint_weights import PARTS

# a page on the hub: with or without https://, perhaps of one revision
ADDRESS = re.compile(
    r"(?:https?://[^/]+|huggingface\.co|hf\.co)/([\w-][\w.-]*/[\w-][\w.-]*)(?:/.*)?"
)


@dataclass(frozen=True)
class Variant:
    """A checkpoint that has a name."""

    name: str
    source: str  # hub id, or a folder beside this file
    purpose: str  # the sound it was trained for
    licence: str  # of the weights; SPDX id in lower case, as on the hub
    size: int | None = None  # bytes to download; None: comes with the package


_AUDIOLDM2 = ("cc-by-nc-sa-4.0", 4 * (55_376_873 + 55_264_897))  # float32, VAE and vocoder
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("tiny", "bundled/tiny", "trying things out", "apache-2.0"),
        Variant("music", "cvssp/audioldm2-music", "music", *_AUDIOLDM2),
        Variant("speech", "cvssp/audioldm2", "speech", *_AUDIOLDM2),
        Variant("large", "cvssp/audioldm2-large", "general audio", *_AUDIOLDM2),
    )
}


@dataclass(frozen=True)
class Place:
    """A source, resolved: a folder or a hub id, and what is known about it."""

    name: str
    folder: Path | None = None
    variant: Variant | None = None


def resolve(source: str | os.PathLike[str]) -> Place:
    """What ``source`` means; ``ValueError`` if it can be none."""
    text = os.fspath(source)
    if text in VARIANTS:
        variant = VARIANTS[text]
        if variant.size is not None:
            return Place(variant.source, variant=variant)
        return Place(text, Path(__file__).parents[1] / variant.source, variant)
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        return Place(folder.resolve().name, folder)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text):
        known = [variant for variant in VARIANTS.values() if variant.source == text]
        return Place(text, variant=known[0] if known else None)
    if address := ADDRESS.fullmatch(text):
        raise ValueError(f"model: got the address {text!r}, expected its hub id: {address[1]}")
    close = difflib.get_close_matches(text.lower(), VARIANTS, n=1, cutoff=0.5)
    raise ValueError(
        f"model: got {text!r}, expected a variant ({', '.join(VARIANTS)}), an existing folder or a "
        "hub id 'owner/name'" + (f"; did you mean {close[0]!r}?" if close else "")
    )


def check_source(source: str | os.PathLike[str]) -> None:
    """Refuse at once, by a ValueError, without torch or a request, a source that cannot be one."""
    place = resolve(source)
    if place.folder is not None:
        config_paths(place, place.folder)


def config_paths(place: Place, folder: Path) -> dict[str, Path]:
    """The two configs in the folder of a source; a ValueError if one is missing."""
    paths = {part: folder / part / "config.json" for part in PARTS}
    missing = [part for part, path in paths.items() if not path.is_file()]
    if missing:
        fix = "expected vae/ and vocoder/ with a config.json each, as diffusers saves them"
        if place.variant:
            fix = "this installation lacks the bundled model: install vaerecon again"
        names = " and no ".join(f"{part}/config.json" for part in missing)
        raise ValueError(f"{place.name}: has no {names}; {fix}")
    return paths


def cached(variant: str) -> int:
    """Bytes of a variant, in the revision that ``load`` takes by default, on this machine."""
    from huggingface_hub import try_to_load_from_cache

    place = resolve(variant)
    if place.folder is not None:
        names = ("config.json", "*.safetensors")
        return sum(p.stat().st_size for name in names for p in place.folder.glob(f"*/{name}"))
    total = 0
    for part, stem in PARTS.items():
        for name in ("config.json", f"{stem}.safetensors"):
            found = try_to_load_from_cache(place.name, f"{part}/{name}")
            if isinstance(found, str) and os.path.isfile(found):
                total += os.path.getsize(found)
    return total


def describe() -> list[tuple[str, str, str, str, str, str]]:
    """A row for each variant, to print: name, source, purpose, download, cached, licence."""
    return [
        (v.name, v.source if v.size else "bundled", v.purpose, _megabytes(v.size or 0),
         _megabytes(cached(v.name)), v.licence)
        for v in VARIANTS.values()
    ]  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size else "none"
