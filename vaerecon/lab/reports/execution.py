"""Execution of one notebook by papermill, with a time limit; and the reason of a failure."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbformat import NotebookNode

from vaerecon.utils import plugins

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager


def through_papermill(
    scratch: Path, work: Path, parameters: dict[str, Any], timeout: float, cpu: bool
) -> Exception | None:
    """Run ``in.ipynb`` to ``out.ipynb``; returns the exception that stopped it."""
    import papermill
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    ends: list[float] = []

    def time_left(cell: NotebookNode) -> float:
        # a limit for the notebook; nbclient has one for each cell
        if not ends:
            ends.append(time.monotonic() + timeout)
        return max(0.1, ends[0] - time.monotonic())

    try:
        with _settings(cpu):
            papermill.execute_notebook(
                scratch / "in.ipynb", scratch / "out.ipynb", parameters,
                engine_name=_engine_that_writes_once(), kernel_name="python3",
                language="python", cwd=work, progress_bar=False, start_timeout=120,
                timeout_func=time_left,
                iopub_timeout=60,  # the default of 4 s is short for a busy machine
                store_widget_state=False,  # no page can show them; a player's is megabytes
                kernel_manager_class=_logged_kernels(scratch / "kernel.log"),
                extra_arguments=["--IPKernelApp.log_level=50"],
            )  # fmt: skip
    except (papermill.PapermillExecutionError, CellControlSignal, DeadKernelError) as error:
        return error
    except RuntimeError as error:  # the kernel did not start; its last line says why
        log = (scratch / "kernel.log").read_text(encoding="utf-8", errors="replace")
        return RuntimeError("; ".join([str(error), *log.strip().splitlines()[-1:]]))
    finally:
        _end_kernels(work)
    return None


def _engine_that_writes_once() -> str:
    """The name of an engine of papermill's that writes the notebook at its end only.

    Its own engine writes all outputs again before and after each cell.
    """
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.iorw import write_ipynb

    class WritesOnce(NBClientEngine):
        @classmethod
        def execute_notebook(
            cls, nb: NotebookNode, kernel_name: str, output_path: str, **options: Any
        ) -> NotebookNode:
            try:
                return super().execute_notebook(nb, kernel_name, **options)
            except BaseException:  # else papermill writes it
                write_ipynb(nb, output_path)
                raise

    papermill_engines.register("vaerecon", WritesOnce)
    return "vaerecon"


def _logged_kernels(log: Path) -> type[AsyncKernelManager]:
    """Kernels that write to ``log`` what is not a cell's output, as faults while they end."""
    from jupyter_client.manager import AsyncKernelManager

    class LoggedKernels(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # not async there
            with log.open("ab") as file:
                await super().start_kernel(stdout=file, stderr=file, **options)

    return LoggedKernels


def _end_kernels(work: Path) -> None:
    """End kernels in ``work``: after an interrupt, papermill leaves those that were starting."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if Path(child.cwd()) == work:
                child.kill()
                child.wait()


def describe_failure(
    executed: NotebookNode, problem: Exception | None, where: str, timeout: float
) -> str | None:
    """One line: why the run stopped, and what to do; None if every cell ran."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    reached = [c for c in code if c.metadata.get("papermill", {}).get("start_time")]
    if problem is None and len(reached) == len(code):
        return None
    if not reached:
        return f"{where}: the kernel did not start ({problem}); is ipykernel installed?"
    own = [cell for cell in reached if "injected-parameters" not in tags(cell)]
    line = next(iter(own[-1].source.strip().splitlines()), "") if own else ""
    at = f"{where}, code cell {len(own)} ({line[:60]!r})"
    if isinstance(problem, papermill.PapermillExecutionError):
        reason = " ".join(f"{problem.ename}: {problem.evalue}".split())[:300]
    elif isinstance(problem, DeadKernelError):
        reason = ("the kernel died, most often for want of memory; take a shorter clip "
                  "(max_length) or a smaller model, or close other programs")  # fmt: skip
    elif problem is None:
        reason = "it ended the notebook (SystemExit); the cells after it did not run"
    else:
        reason = (f"the notebook's {timeout:g} s were up; allow it more time (timeout) or take a "
                  "shorter clip (max_length)")  # fmt: skip
    return f"{at}: {reason}"


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


@contextlib.contextmanager
def _settings(cpu: bool) -> Iterator[None]:
    """Silence papermill's log, since errors are reported here; what the kernel finds around it.

    It has the plug-in files of this process, and with ``cpu`` no CUDA.
    """
    logger, given = logging.getLogger("papermill"), {"CUDA_VISIBLE_DEVICES": ""} if cpu else {}
    given[plugins.VARIABLE] = os.pathsep.join(plugins.files)
    before = {name: os.environ.get(name) for name in given}
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    os.environ |= given
    try:
        yield
    except KeyboardInterrupt:  # Python ends, and tornado finds its sockets closed
        logging.getLogger("tornado").setLevel(logging.CRITICAL)
        raise
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            del os.environ[name]
            os.environ |= {} if value is None else {name: value}


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])
