"""docs/directions.md is what `python -m benchmarks.directions` writes of its numbers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def directions(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)  # benchmarks is not installed
    from benchmarks import directions

    yield directions
    sys.modules.pop("benchmarks.directions", None)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_that_of_the_numbers(directions, language):
    numbers = json.loads(directions.NUMBERS.read_text(encoding="utf-8"))
    stated = directions.PAGES[language].read_text(encoding="utf-8")
    assert stated == directions.page(numbers, language)
    gains = [float(x) for x in re.findall(r"^\| \d \| .*? \| ([+-][\d.]+) \| ", stated, re.M)]
    assert len(gains) == 7
    assert gains == sorted(gains, reverse=True)


def test_the_goals_that_were_reached_stay_in_the_numbers(directions):
    """Of the clips that they were measured on; the tests do not have those."""
    numbers = json.loads(directions.NUMBERS.read_text(encoding="utf-8"))
    several = numbers["several"]
    assert several["values_per_second"] == 16000
    assert several["pesq_wb"] >= 3.3
    assert several["stoi"] >= 0.97
    found = dict(numbers["diagnosis"])
    assert found.pop("true") == [numbers["clips"], 0]
    assert found.pop("behind the VAE") == [numbers["clips"], 0]
    assert all(seen == told for seen, told in found.values())
