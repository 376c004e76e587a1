"""The notebooks' exercises and times: where they stand, their style, what a mistake is told."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import nbformat
import pytest
import torch

ROOT = Path(__file__).parents[2]
ROOMS = {"03_vocoder_dimension_fix": "nb03_vocoder_fix"}  # the others are called as their notebooks
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HEADING = re.compile(r"### Exercise (\d) \((easy|medium|hard), (\d+) minutes\): ")
# what only Python or a library says
PYTHON = ("unsupported operand", "object", "attribute", "argument", "convert", "dtype")


def solutions_of(stem: str):
    room = ROOMS.get(stem, f"nb{stem}")
    return importlib.import_module(f"vaerecon.lab.{room}.solutions")


EXERCISES = [
    (path.stem, name)
    for path in NOTEBOOKS
    for name in getattr(solutions_of(path.stem), "CHECKS", {})
]


@pytest.mark.parametrize(("stem", "name"), EXERCISES)
def test_the_solution_is_right_and_nothing_is_not_tried(stem, name):
    solutions = solutions_of(stem)
    assert solutions.check_exercises(**{name: getattr(solutions, name)}) == f"- `{name}`: correct"
    untried = solutions.check_exercises(**{name: lambda *_: None})
    assert untried == f"- `{name}`: not tried yet"


def raising(*_):
    raise TypeError("unsupported operand type(s)")


@pytest.mark.parametrize(("stem", "name"), EXERCISES)
def test_a_wrong_type_gets_a_sentence_and_never_python_s_own_error(stem, name):
    returned = ("text", {}, [], ["a"] * 3, (None,), torch.zeros(0), torch.zeros(3, 5), float("nan"))
    answers = [raising, lambda: 1, 3, *(lambda *_, x=x: x for x in returned)]
    for answer in answers:
        told = solutions_of(stem).check_exercises(**{name: answer})
        assert told.startswith(f"- `{name}`: not yet: "), told
        said = re.sub(r"it returns .* \(\w+\), ", "", told)
        assert not [word for word in PYTHON if word in said], told


def read(path: Path) -> list[tuple[str, str]]:
    return [(c.cell_type, c.source) for c in nbformat.read(path, as_version=4).cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_stand_one_a_cell_behind_their_section_in_one_style(path):
    cells, solutions = read(path), solutions_of(path.stem)
    module = f"solutions_{path.stem[:2]}"
    at = [i for i, (_, text) in enumerate(cells) if text.startswith("### Exercise")]
    found = [HEADING.match(cells[i][1]) for i in at]
    assert [int(match[1]) for match in found] == list(range(1, len(at) + 1))
    assert {match[2] for match in found} == {"easy", "medium", "hard"}
    names = []
    for i in at:
        stub = re.fullmatch(
            rf"def (\w+)\([\w, ]+\):\n    return None  # your answer\n\n\n"
            rf"markdown\({module}\.check_exercises\((\w+)=\2\)\)",
            cells[i + 1][1],
        )
        assert stub, cells[i + 1][1]
        assert stub[1] == stub[2]
        assert "<summary>Hint</summary>" in cells[i][1]
        assert f"`{stub[1]}(" in cells[i][1]
        assert f"Exercise {cells[i][1][13]}:" in getattr(solutions, stub[1]).__doc__
        names.append(stub[1])
    assert set(names) == set(solutions.CHECKS)
    text = "\n".join(source for _, source in cells)
    assert re.findall(rf"{module}\.(\w+)\?\?", text) == names[:1]  # shown once


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_times_of_the_sections_add_up(path):
    text = "\n".join(source for kind, source in read(path) if kind == "markdown")
    sections = re.findall(r"^## .+\n\n\*(\d+) minutes\*$", text, re.MULTILINE)
    assert len(sections) == len(re.findall("^## ", text, re.MULTILINE))
    exercises = sum(int(match[3]) for match in HEADING.finditer(text))
    total = f"about {sum(map(int, sections))} minutes to read and listen, {exercises} for"
    assert total in text


def test_the_lessons_take_90_minutes_and_as_long_as_their_sections():
    lessons = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8").split("\n## Lesson ")[1:]
    assert len(lessons) == 4
    for lesson in lessons:
        rows = re.findall(r"^\| (\d+) \|(.*)\|(.*)\|$", lesson, re.MULTILINE)
        assert sum(int(minutes) for minutes, _, _ in rows) == 90
        for minutes, link, what in rows:
            numbers = re.search(r"sections? (\d+)(?: (to|and) (\d+))?", what)
            if not numbers:
                continue
            first, last = int(numbers[1]), int(numbers[3] or numbers[1])
            path = ROOT / "docs" / re.search(r"\((.*)\)", link)[1]
            text = "\n".join(source for _, source in read(path))
            each = dict(re.findall(r"^## (\d+)\. .+\n\n\*(\d+) minutes\*$", text, re.MULTILINE))
            assert sum(int(each[str(n)]) for n in range(first, last + 1)) == int(minutes), what
