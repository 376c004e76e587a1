"""The notebooks with their checks and baselines, as the wheel brings them; copies to work in."""

from importlib import metadata
from itertools import groupby
from pathlib import Path

from vaerecon.lab.reports.baselines import CHECKS
from vaerecon.utils.files import whole_folder

PLACE = "share/vaerecon/notebooks/checks.yaml"  # in the environment: see pyproject.toml


def installed_notebooks() -> Path | None:
    """Folder of the notebooks that came with the wheel; None for a checkout."""
    files = metadata.files("vaerecon") or ()
    return next((Path(str(f.locate())).parent for f in files if f.as_posix().endswith(PLACE)), None)


def shipped_files() -> dict[str, Path]:
    """Where the files of a copy are, by their name in it: those of the wheel, or the checkout's."""
    installed, root = installed_notebooks(), Path(__file__).parents[3]
    notebooks = installed or root / "notebooks"
    baselines = installed / "baselines" if installed else root / "tests" / "baselines"
    found = {path.name: path for path in [*notebooks.glob("*.ipynb"), notebooks / CHECKS]}
    return found | {f"baselines/{path.name}": path for path in baselines.glob("*.json")}


def copy_notebooks(target: Path, overwrite: bool = False) -> list[str]:
    """Copy them into ``target``; a file there that differs stays, unless ``overwrite``.

    Returns the names of those that stayed. Errors are those of ``whole_folder``.
    """
    files = {name: path.read_bytes() for name, path in shipped_files().items()}
    stayed = [name for name, content in sorted(files.items()) if not overwrite
              and (target / name).exists() and (target / name).read_bytes() != content]  # fmt: skip
    todo = [name for name in files if name not in stayed]
    for folder, names in groupby(sorted(todo), lambda name: Path(name).parent):
        with whole_folder(target / folder) as scratch:
            for name in names:
                (scratch / Path(name).name).write_bytes(files[name])
    return stayed
