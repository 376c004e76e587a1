"""What comes with the package: the ``tiny`` model and three demo clips."""

from pathlib import Path

FOLDER = Path(__file__).parent
TINY = FOLDER / "tiny"
DEMO_CLIP = "demo_ensemble"


def demo_clips() -> dict[str, Path]:
    """Name to file of the bundled clips, about 5 s each, CC0."""
    return {path.stem: path for path in sorted((FOLDER / "clips").glob("*.flac"))}
