"""The list of ``python -m benchmarks.mutants`` fits the code: every fault can be put in."""

from __future__ import annotations

from pathlib import Path

import pytest

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
