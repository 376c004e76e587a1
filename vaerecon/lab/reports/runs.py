"""Headless runs of notebooks: parameters checked and set, results stamped and written.

A run takes place in a scratch folder that contains only the files that it was given, and writes
three files: the executed notebook, an HTML page that needs no network, and a JSON file with the
recorded numbers. Each has the stamp: source, parameters, versions, device.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from vaerecon.lab.reports.pages import to_html, without_widgets
from vaerecon.lab.reports.parameters import check_parameters, read_parameters
from vaerecon.lab.reports.recording import NotebookError, Run, collect
from vaerecon.lab.reports.scrub import path_scrubber, scrub_strings
from vaerecon.utils import plugins
from vaerecon.utils.files import whole_folder
from vaerecon.utils.versions import installed_versions

LIBRARIES = ("vaerecon", "torch", "diffusers", "transformers", "librosa", "numpy", "pesq", "pystoi",
             "visqol-python", "papermill")  # fmt: skip
# last, so that the numbers of the other cells are those of the notebook
DEVICE_CELL = """from vaerecon.lab.reports.recording import used_device
print(used_device())"""


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
    if given:
        notebook = load_notebook_node(str(path))
        notebook = parameterize_notebook(notebook, given, kernel_name="python3", language="python")
    inputs = [Path(file).absolute() for file in files]
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="vaerecon-") as folder:
        work = Path(folder).resolve() / "work"
        work.mkdir()
        link_inputs(inputs, work)
        device, failure = run_cells(notebook, path.name, work, timeout, cpu)
    scrub = path_scrubber(inputs, work)
    executed = scrub_strings(without_widgets(notebook), scrub)
    values = {name: parameter.default for name, parameter in declared.items()} | given
    stamp: dict[str, Any] = {
        "notebook": path.name,
        "source_blob": blob_hash(source),
        "parameters": values,
        "seed": values.get("seed"),
        "device": device,
        "versions": installed_versions(LIBRARIES),
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


def run_cells(
    notebook: NotebookNode, where: str, work: Path, timeout: float, cpu: bool
) -> tuple[str | None, str | None]:
    """Run all cells in the folder ``work``; returns the device that was used, and the failure.

    The failure is one line that says why the run stopped and what to do; None if every cell ran.
    """
    end, log, reached = math.inf, work.with_name("kernel.log"), -1
    client = NotebookClient(
        notebook, kernel_name="python3", startup_timeout=120,
        iopub_timeout=60,  # the default of 4 s is short for a busy machine
        # a limit for the notebook; nbclient has one for each cell
        timeout_func=lambda cell: max(0.1, end - time.monotonic()),
        store_widget_state=False,  # no page can show them; a player's is megabytes
        resources={"metadata": {"path": str(work)}},
        extra_arguments=["--IPKernelApp.log_level=50"],
        log=logging.Logger(__name__, logging.CRITICAL),  # errors are reported here
    )  # fmt: skip
    variables = os.environ | {plugins.VARIABLE: os.pathsep.join(plugins.files)}
    if cpu:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    try:
        # to the log goes what is not a cell's output, as faults while the kernel ends
        with log.open("wb") as file, client.setup_kernel(env=variables, stdout=file, stderr=file):
            end = time.monotonic() + timeout
            for reached, cell in enumerate(notebook.cells):
                client.execute_cell(cell, reached)
            return _used_device(client), None
    except CellExecutionError as error:
        reason = " ".join(f"{error.ename}: {error.evalue}".split())[:300]
        if error.ename == "SystemExit":
            reason = "it ended the notebook (SystemExit); the cells after it did not run"
    except DeadKernelError:
        reason = ("the kernel died, most often for want of memory; take a shorter clip "
                  "(max_length) or a smaller model, or close other programs")  # fmt: skip
    except CellControlSignal:
        reason = (f"the notebook's {timeout:g} s were up; allow it more time (timeout) or take a "
                  "shorter clip (max_length)")  # fmt: skip
    except RuntimeError as error:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        told = "; ".join([str(error), *last])
        return None, f"{where}: the kernel did not start ({told}); is ipykernel installed?"
    except KeyboardInterrupt:  # Python ends, and tornado finds its sockets closed
        logging.getLogger("tornado").setLevel(logging.CRITICAL)
        raise
    finally:
        _end_kernels(work)
    code = [cell for cell in notebook.cells[: reached + 1] if cell.cell_type == "code"]
    own = [cell for cell in code if "injected-parameters" not in tags(cell)]
    line = next(iter(own[-1].source.strip().splitlines()), "") if own else ""
    return None, f"{where}, code cell {len(own)} ({line[:60]!r}): {reason}"


def _used_device(client: NotebookClient) -> str:
    """What the kernel says of itself, in a cell that does not stay in the notebook."""
    cell = nbformat.v4.new_code_cell(DEVICE_CELL)
    client.nb.cells.append(cell)
    client.execute_cell(cell, len(client.nb.cells) - 1)
    client.nb.cells.pop()
    return str(cell.outputs[0].text.strip())


def _end_kernels(work: Path) -> None:
    """End kernels in ``work``: after an interrupt, one that was starting can be left."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if Path(child.cwd()) == work:
                child.kill()
                child.wait()


def link_inputs(inputs: Sequence[Path], folder: Path) -> None:
    """Link inputs, or copy them where links are not allowed, into ``folder``."""
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f"files: got {path.name!r}, but there is no such file")
        if (folder / path.name).is_symlink() or (folder / path.name).exists():
            raise ValueError(f"files: got two called {path.name!r}; give them different names")
        try:
            (folder / path.name).symlink_to(path)
        except OSError:  # Windows lets only some users make links
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


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
