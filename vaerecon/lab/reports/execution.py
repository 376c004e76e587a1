"""Execution of one notebook in its own kernel, with a time limit; and the reason of a failure."""

import contextlib
import logging
import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from vaerecon.utils import plugins

# last, so that the numbers of the other cells are those of the notebook
DEVICE_CELL = """from vaerecon.lab.reports.recording import used_device
print(used_device())"""


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
    import psutil

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
