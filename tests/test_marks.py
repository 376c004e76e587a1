"""The mark ``process`` is true: what starts a process without it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.system import LIMIT

TESTS = """
import multiprocessing, subprocess, sys
import pytest

TRUE = [sys.executable, "-c", ""]

@pytest.fixture(scope="module")
def shared():
    subprocess.run(TRUE)

def test_first_to_use_it(shared): pass
def test_second_to_use_it(shared): pass
def test_none(): pass
def test_its_own(): subprocess.run(TRUE)
@pytest.mark.process
def test_marked(shared): subprocess.run(TRUE)
def test_worker():
    worker = multiprocessing.get_context("spawn").Process(target=print)
    worker.start()
    worker.join()
"""


@pytest.mark.process
def test_a_test_that_starts_a_process_without_the_mark_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-W", "ignore", "-rfp", tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    found = dict(re.findall(r"^(?:FAILED|PASSED) \S+::(\w+)(.*)$", done.stdout, re.MULTILINE))
    assert found.keys() == set(re.findall(r"def (test_\w+)", TESTS))
    failed = {name for name, reason in found.items() if reason}
    assert failed == found.keys() - {"test_none", "test_marked"}, done.stdout
    assert all("starts a process" in found[name] for name in failed)
