"""The notebooks themselves: run by papermill as `vaerecon check` runs them.

Each runs once as a whole, and its numbers are compared with its baseline. Then, in one kernel, it
runs again for each of its parameters with another value, until a recorded number has moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.html_checks import loads_from_elsewhere, machine_paths
from helpers.installed import need
from helpers.system import LIMIT
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from vaerecon.bundled import FOLDER
from vaerecon.lab.reports.baselines import compare, other_libraries, read_baseline, read_checks
from vaerecon.lab.reports.parameters import read_parameters
from vaerecon.lab.reports.recording import Run, collect
from vaerecon.lab.reports.runs import read_notebook, run_notebook
from vaerecon.pipeline.pipeline import ReconstructionPipeline

ROOT = Path(__file__).parents[2]
CHECKS = {check.name: check for check in read_checks(ROOT / "notebooks")}
# a number that moves by less can be rounding: see the tolerances in tests/baselines
MOVED = 1e-3
# nothing from the run before; pictures and players record nothing, and take most of the time
FRESH = """%reset -f
import torch
from vaerecon.lab import setup
from vaerecon.lab.listening import player
torch.set_grad_enabled(True)  # notebook 03 leaves it off, and 05 trains
setup.show = player.play = lambda *args, **options: None"""

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module", params=CHECKS)
def check(request):
    return CHECKS[request.param]


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def run(check, output) -> Run:
    """The notebook as `vaerecon check` runs it; raises if a cell fails."""
    options = {"timeout": max(check.timeout, LIMIT), "files": check.files, "cpu": True}
    return run_notebook(check.path, check.parameters, output, **options)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory) -> Path:
    """A model that is not tiny: tiny with all its weights a little smaller."""
    pipe = ReconstructionPipeline.from_pretrained("tiny", device="cpu", dtype="float32")
    with torch.no_grad():
        for weight in (*pipe.vae.parameters(), *pipe.vocoder.parameters()):
            weight.mul_(0.9)
    folder = tmp_path_factory.mktemp("models") / "other"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def kernel(tmp_path_factory) -> Iterator[NotebookClient]:
    """A client whose kernel stays up from one run to the next: its imports take seconds."""
    client = NotebookClient(
        new_notebook(),
        kernel_name="python3",
        timeout=LIMIT,
        iopub_timeout=LIMIT,
        store_widget_state=False,
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("kernel"))}},
        extra_arguments=["--IPKernelApp.log_level=50"],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # as the run that its numbers are compared with
        with client.setup_kernel():
            yield client


def test_it_records_numbers_as_its_baseline_names_them(check, run):
    assert 5 <= len(run.records) <= 20
    baseline = read_baseline(ROOT / "tests" / "baselines", check.name)
    assert baseline is not None, "run `vaerecon check --update`"
    assert list(baseline["metrics"]) == list(run.records)


def test_its_numbers_are_those_of_its_baseline(check, run):
    """As `vaerecon check` compares them; the tolerances stand in the baselines, with reasons."""
    if "metrics_scored" in run.records:
        need("pesq")  # or there is one metric fewer
    baseline = read_baseline(ROOT / "tests" / "baselines", check.name)
    assert compare(baseline, run) == [], other_libraries(baseline, run)


def test_its_page_stands_alone_and_names_no_folder_of_this_machine(check, run, output):
    page = (output / f"{check.name}.html").read_text(encoding="utf-8")
    assert loads_from_elsewhere(page) == []
    assert "<audio" in page  # the player's table, without the player
    assert "jupyter-widgets" not in page
    for file in output.glob(f"{check.name}.*"):
        assert machine_paths(file.read_text(encoding="utf-8"), output) == []


def test_every_parameter_moves_a_number(check, run, other_model, kernel):
    _, notebook = read_notebook(check.path)
    declared = read_parameters(notebook, check.path.name)
    vary = dict(check.vary)
    if "model" in declared:
        vary["model"] = str(other_model)
    if "more_models" in declared:
        vary["more_models"] = [str(other_model)]
    if "folder" in declared:
        vary["folder"] = str(FOLDER / "clips")
    assert vary.keys() == declared.keys()  # checks.yaml gives each another value

    same = []
    for name, value in vary.items():
        assert value != run.stamp["parameters"][name]
        if not moves(kernel, check.path, {**check.parameters, name: value}, run):
            same.append(name)
    assert same == []


def moves(client: NotebookClient, path: Path, parameters: dict, base: Run) -> bool:
    """Whether a run with these parameters records another number; it stops at the first."""
    notebook = parameterize_notebook(load_notebook_node(str(path)), parameters)
    notebook.cells.insert(0, new_code_cell(FRESH))
    client.nb = notebook
    client.reset_execution_trackers()
    for index, cell in enumerate(notebook.cells):
        client.execute_cell(cell, index)
        for name, entry in collect([cell]).items():
            was = base.records[name]["value"]
            if abs(entry["value"] - was) > MOVED * abs(was):
                return True
    return False
