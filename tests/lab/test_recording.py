"""Numbers that a notebook records: shown to readers, found again by whoever ran it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from vaerecon.lab.reports.recording import RECORD_MIME, collect, record


@pytest.fixture(autouse=True)
def shell():
    """A notebook's shell: without one, display() only prints."""
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


def cell_of(*recorded: tuple) -> dict:
    """A code cell as it stands in an executed notebook that recorded these."""
    outputs = []
    for arguments in recorded:
        with capture_output() as captured:
            record(*arguments)
        (shown,) = captured.outputs
        outputs.append({"output_type": "display_data", "data": shown.data})
    return {"cell_type": "code", "outputs": outputs}


@pytest.mark.parametrize(
    "value", [3, 3.0, np.float32(3), np.int64(3), torch.tensor(3.0), torch.tensor([3])]
)
def test_any_number_is_recorded_and_shown(value):
    cell = cell_of(("error", value, "nepers"))
    data = cell["outputs"][0]["data"]
    assert data[RECORD_MIME] == {"name": "error", "value": 3.0, "unit": "nepers"}
    assert type(data[RECORD_MIME]["value"]) is float  # JSON knows no numpy
    assert data["text/plain"] == "error = 3 nepers"


def test_a_bare_number_has_no_unit():
    cell = cell_of(("share", 0.123456789))
    assert cell["outputs"][0]["data"]["text/plain"] == "share = 0.1235"
    assert collect([cell]) == {"share": {"value": 0.123456789, "unit": ""}}


@pytest.mark.parametrize("name", ["", "two words", "a-b", "1st", "x.y"])
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(ValueError, match="expected letters, digits, underscores"):
        record(name, 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, torch.tensor(torch.nan)])
def test_a_number_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        record("error", value)


def test_collect_keeps_the_order_and_passes_over_everything_else():
    cells = [
        {"cell_type": "markdown", "source": "# Text"},
        {"cell_type": "code", "outputs": []},
        cell_of(("z", 1, "s"), ("a", 2, "dB")),
        {
            "cell_type": "code",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": "b = 5"},
                {"output_type": "display_data", "data": {"text/plain": "c = 6"}},
            ],
        },
        cell_of(("m", 3)),
    ]
    found = collect(cells)
    assert list(found) == ["z", "a", "m"]
    assert found["a"] == {"value": 2.0, "unit": "dB"}


@pytest.mark.parametrize("apart", [True, False])
def test_a_name_recorded_twice_is_refused(apart):
    cells = [cell_of(("x", 1)), cell_of(("x", 1))] if apart else [cell_of(("x", 1), ("x", 1))]
    with pytest.raises(ValueError, match="'x' was recorded twice"):
        collect(cells)
