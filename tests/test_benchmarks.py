"""The benchmarks that check tests: the faults fit the code, and tolerances what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.baselines import renewed
from benchmarks.mutants import FAULTS, Fault, planted

ROOT = Path(__file__).parent.parent


def test_every_fault_stands_once_in_its_file_and_names_tests():
    assert len(FAULTS) >= 44  # 40, and the four that the tests once let pass
    for fault in FAULTS:
        source = (ROOT / "vaerecon" / fault.file).read_text(encoding="utf-8")
        assert source.count(fault.old) == 1, fault
        assert fault.new != fault.old
        assert all(
            (ROOT / "tests" / name.split("::")[0]).is_file() for name in fault.tests.split()
        ), fault


def test_a_fault_is_put_in_and_taken_out(tmp_path):
    (tmp_path / "vaerecon").mkdir()
    file = tmp_path / "vaerecon" / "a.py"
    file.write_text("x = 1\ny = 2\n")
    with planted(Fault("a.py", "y = 2", "y = 3", ""), tmp_path):
        assert file.read_text() == "x = 1\ny = 3\n"
    assert file.read_text() == "x = 1\ny = 2\n"
    for text, count in ((" = ", 2), ("z", 0)):
        fault = Fault("a.py", text, "!", "")
        with pytest.raises(ValueError, match=f"a.py: got '{text}' {count} times"):
            planted(fault, tmp_path).__enter__()


def test_a_tolerance_is_widened_only_where_rounding_takes_two_thirds_of_it():
    kept = {"value": -2.0, "unit": "dB", "absolute": 0.0, "relative": 1e-3, "reason": "as it was"}
    metrics = {"steady": dict(kept), "shaky": dict(kept), "count": kept | {"value": 0.0}}
    changes = {"steady": 6.6e-4, "shaky": 7.2e-4, "count": 0.0}
    after = renewed({"metrics": metrics}, changes)["metrics"]
    assert after["steady"] == kept
    assert after["count"] == kept | {"value": 0.0}
    assert after["shaky"]["relative"] == pytest.approx(2.2e-3)  # three times, rounded up
    assert after["shaky"]["reason"].endswith("moved it by up to 0.07 %")
