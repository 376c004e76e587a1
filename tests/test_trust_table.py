"""The table in ``tests/README.md`` names tests that exist, and no more cases than there are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| .*\| `((?:\w+/)*test_\w+\.py::test_\w+)` \| (\d+) \|$", re.MULTILINE)


class Collected:
    """A plugin that keeps what pytest finds."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.names = [item.nodeid.removeprefix("tests/") for item in session.items]


@pytest.mark.slow
def test_every_promise_has_its_test_and_its_count():
    stated = {name: int(count) for name, count in ROW.findall(readme())}
    assert len(stated) > 60
    files = sorted({str(TESTS / name.split("::")[0]) for name in stated})
    # in this process: importing the libraries in another would take seconds
    found, options = Collected(), ["--collect-only", "-q", "-o", "addopts=", "-p", "no:xdist"]
    assert pytest.main([*options, "-p", "no:cacheprovider", *files], plugins=[found]) == 0
    collected = Counter(re.sub(r"\[.*", "", name) for name in found.names)
    wrong = {
        name: f"stated {count}, collected {collected[name]}"
        for name, count in stated.items()
        if collected[name] < count  # more is as well: modules and weights are added
    }
    assert wrong == {}


def test_every_test_of_trust_stands_in_the_table():
    named = {name for name, _ in ROW.findall(readme())}
    missing = []
    for path in sorted(TESTS.rglob("test_trust_*.py")):
        if path.name != Path(__file__).name:
            for test in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M):
                if f"{path.relative_to(TESTS).as_posix()}::{test}" not in named:
                    missing.append(f"{path.relative_to(TESTS).as_posix()}::{test}")
    helpers = {"test_trust_supply.py::test_the_search_lets_pass"}
    helpers |= {"test_trust_supply.py::test_no_rule_is_switched_off_for_a_whole_file_or_for_all"}
    assert set(missing) <= helpers


def test_every_row_of_the_table_is_read():
    rows = [line for line in readme().splitlines() if line.startswith("|")]
    titles = [row for row in rows if re.fullmatch(r"\| \*\*[\w ]+\*\* \| \| \|", row)]
    assert len(rows) == len(ROW.findall(readme())) + len(titles) + 2  # and the head


def readme() -> str:
    return (TESTS / "README.md").read_text(encoding="utf-8")
