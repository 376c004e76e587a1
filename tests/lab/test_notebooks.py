"""The notebooks themselves, run as `vaerecon check` runs them.

Each runs once as a whole, and its numbers are compared with its baseline. Then those of its cells
that can show it run again for each of its parameters with another value, until a recorded number
has moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.html_checks import loads_from_elsewhere, machine_paths
from helpers.installed import need
from helpers.notebook_cells import needed_for, read_cells, run_cells
from helpers.system import LIMIT

from vaerecon.bundled import FOLDER
from vaerecon.lab.reports.baselines import compare, other_libraries, read_baseline, read_checks
from vaerecon.lab.reports.parameters import read_parameters
from vaerecon.lab.reports.recording import Run
from vaerecon.lab.reports.runs import read_notebook, run_notebook
from vaerecon.pipeline.pipeline import ReconstructionPipeline

ROOT = Path(__file__).parents[2]
CHECKS = {check.name: check for check in read_checks(ROOT / "notebooks")}
# a number that moves by less can be rounding: see the tolerances in tests/baselines
MOVED = 1e-3
# in place of the parameters in checks.yaml where only a difference is asked for
QUICK = {
    "04_method_comparison": {"methods": "fast,griffinlim"},
    "05_fine_tuning": {"steps": 2},
    "09_mel_settings": {"max_length": 0.5},
    "10_vocoder_input": {"max_length": 0.5, "methods": ["fast"]},
    "11_domains": {"max_length": 0.5},
}

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


def test_every_parameter_moves_a_number(check, other_model):
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

    cells = read_cells(check.path)
    parameters = {name: parameter.default for name, parameter in declared.items()}
    parameters |= check.parameters | QUICK.get(check.name, {})
    bases: dict[tuple, tuple[dict, Iterator]] = {}  # numbers by cells, as far as they had to run
    same = []
    for name, value in vary.items():
        assert value != parameters[name]
        needed = needed_for(cells, name)
        known, base = bases.setdefault(needed, ({}, run_cells(needed, parameters)))
        if not moves(run_cells(needed, {**parameters, name: value}), known, base):
            same.append(name)
    assert same == []


def moves(numbers: Iterator, known: dict[str, float], base: Iterator) -> bool:
    """Whether a number is another than in the base run, which goes on until it is ``known``."""
    for key, now in numbers:
        while key not in known:
            known.update([next(base)])
        if abs(now - known[key]) > MOVED * abs(known[key]):
            return True
    return False
