"""docs/directions.md is what `python -m benchmarks.directions` writes of its numbers."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import directions


@pytest.fixture(scope="module")
def numbers():
    return json.loads(directions.NUMBERS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_is_that_of_the_numbers(numbers, language):
    stated = directions.PAGES[language].read_text(encoding="utf-8")
    assert stated == directions.page(numbers, language)
    gains = [float(x) for x in re.findall(r"^\| \d \| .*? \| ([+-][\d.]+) \| ", stated, re.M)]
    assert len(gains) == 7
    assert gains == sorted(gains, reverse=True)


def test_the_goals_that_were_reached_stay_in_the_numbers(numbers):
    """Of the clips that they were measured on; the tests do not have those."""
    several = numbers["several"]
    assert several["values_per_second"] == 16000
    assert several["pesq_wb"] >= 3.3
    assert several["stoi"] >= 0.97
    found = dict(numbers["diagnosis"])
    assert found.pop("true") == [numbers["clips"], 0]
    assert found.pop("behind the VAE") == [numbers["clips"], 0]
    assert all(seen == told for seen, told in found.values())
