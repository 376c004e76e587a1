"""Headless runs of notebooks by papermill: parameters checked, results stamped and written.

A run takes place in a scratch folder that contains only the files that it was given, and writes
three files: the executed notebook, an HTML page that needs no network, and a JSON file with the
recorded numbers. Each has the stamp: source, parameters, versions, device.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from vaerecon.lab.reports.execution import describe_failure, link_inputs, tags, through_papermill
from vaerecon.lab.reports.pages import to_html, without_widgets
from vaerecon.lab.reports.parameters import check_parameters, read_parameters
from vaerecon.lab.reports.recording import LIBRARIES, MACHINE_MIME, NotebookError, Run, collect
from vaerecon.lab.reports.scrub import path_scrubber, scrub_strings
from vaerecon.utils.files import whole_folder
from vaerecon.utils.versions import installed_versions

MACHINE_TAG = "vaerecon-machine"


def run_notebook(
    path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None,
    output: str | os.PathLike[str] = "reports", *, timeout: float = 600.0,
    files: Sequence[str | os.PathLike[str]] = (), cpu: bool = False,
) -> Run:  # fmt: skip
    """Run a notebook and write ``<name>.ipynb``, ``<name>.html`` and ``<name>.json`` to a folder.

    Parameters
    ----------
    parameters
        Values for names that its parameters cell declares.
    timeout
        Seconds for all cells together.
    files
        Files and folders that the notebook may read, by name in its parameters: it runs in an empty
        folder into which they are linked.
    cpu
        Hide CUDA devices from the notebook, for comparable numbers.

    Raises
    ------
    ValueError, OSError
        If the notebook, a parameter or the folder is not valid.
    NotebookError
        If a cell failed, the kernel died or time was up. ``<name>.failed.*`` has what ran.
    """
    run = execute(path, parameters, timeout=timeout, files=files, cpu=cpu)
    save(run, output)
    if run.failure is not None:
        kept = Path(output) / f"{run.name}.failed.html"
        raise NotebookError(f"{run.failure}; what ran is in {kept}", run)
    return run


def execute(
    path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None, *,
    timeout: float = 600.0, files: Sequence[str | os.PathLike[str]] = (), cpu: bool = False,
) -> Run:  # fmt: skip
    """As :func:`run_notebook`, but write nothing, and return a failed run too."""
    path = Path(path)
    source, notebook = read_notebook(path)
    declared = read_parameters(notebook, path.name)
    given = check_parameters(declared, parameters or {}, path.name)
    inputs = [Path(file).absolute() for file in files]
    started = time.time()
    executed, problem, work = _execute(notebook, given, inputs, timeout, cpu)
    scrub = path_scrubber(inputs, work)
    failure = describe_failure(executed, problem, path.name, timeout)
    machine = _take_machine(executed)
    # the page has its own error message
    executed.cells = [c for c in executed.cells if "papermill-error-cell-tag" not in tags(c)]
    executed = scrub_strings(without_widgets(executed), scrub)
    executed.metadata.papermill.update(input_path=path.name, output_path=path.name)
    values = {name: parameter.default for name, parameter in declared.items()} | given
    stamp = {
        "notebook": path.name,
        "source_blob": blob_hash(source),
        "parameters": values,
        "seed": values.get("seed"),
        "device": machine["device"],
        "versions": machine["versions"],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
        "failure": None if failure is None else scrub(failure),
        "records": {},
    }
    try:
        stamp["records"] = collect(executed.cells)
    except ValueError as error:
        stamp["failure"] = stamp["failure"] or f"{path.name}: {error}"
    executed.metadata["vaerecon"] = stamp
    return Run(path.stem, executed, stamp, stamp["failure"])


def _execute(
    notebook: NotebookNode, given: dict[str, Any], inputs: list[Path], timeout: float, cpu: bool
) -> tuple[NotebookNode, Exception | None, Path]:
    """The notebook as executed in a scratch folder, what stopped it, and the (removed) folder."""
    with tempfile.TemporaryDirectory(prefix="vaerecon-") as folder:
        scratch = Path(folder).resolve()
        work = scratch / "work"
        work.mkdir()
        link_inputs(inputs, work)
        # last, so that the numbers of the other cells are those of the notebook
        code = "from vaerecon.lab.reports.recording import show_machine\n\nshow_machine()"
        cell = nbformat.v4.new_code_cell(code, metadata={"tags": [MACHINE_TAG]})
        notebook.cells.append(cell)
        nbformat.write(notebook, scratch / "in.ipynb")
        problem = through_papermill(scratch, work, given, timeout, cpu)
        return nbformat.read(scratch / "out.ipynb", as_version=4), problem, work


def save(run: Run, folder: str | os.PathLike[str]) -> None:
    """Write the executed notebook, the page and the JSON: all of them, or nothing."""
    stem = run.name if run.failure is None else f"{run.name}.failed"
    with whole_folder(folder) as scratch:
        nbformat.write(run.notebook, scratch / f"{stem}.ipynb")
        (scratch / f"{stem}.html").write_text(to_html(run), encoding="utf-8")
        text = json.dumps(run.stamp, indent=2, allow_nan=False, ensure_ascii=False)
        (scratch / f"{stem}.json").write_text(text + "\n", encoding="utf-8")
    if run.failure is None:
        for suffix in ("ipynb", "html", "json"):
            (Path(folder) / f"{stem}.failed.{suffix}").unlink(missing_ok=True)


def read_notebook(path: Path) -> tuple[bytes, NotebookNode]:
    """A notebook's bytes and content; a ValueError if the file is not a notebook."""
    if not path.is_file():
        raise FileNotFoundError(f"notebook: got {path.name!r}, but there is no such file")
    source = path.read_bytes()
    try:
        if not isinstance(json.loads(source)["cells"], list):
            raise ValueError("its cells are no list")
        notebook = nbformat.reads(source.decode("utf-8"), as_version=4)
        nbformat.validate(notebook)
    except (KeyError, TypeError, ValueError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(f"{path.name}: expected a notebook, but it is none ({reason})") from None
    return source, notebook


def blob_hash(source: bytes) -> str:
    """The hash by which git knows a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(source) + source, usedforsecurity=False).hexdigest()


def _take_machine(executed: NotebookNode) -> dict[str, Any]:
    """Remove the machine cell; its output, or the versions here if it was not reached."""
    machine = {"device": None, "versions": installed_versions(LIBRARIES)}
    for cell in [cell for cell in executed.cells if MACHINE_TAG in tags(cell)]:
        executed.cells.remove(cell)
        for output in cell.outputs:
            machine = output.get("data", {}).get(MACHINE_MIME, machine)
    return machine
