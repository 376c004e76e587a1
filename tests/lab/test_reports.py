"""Notebooks run headlessly, checked against baselines and turned into pages that stand alone."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile as sf
from helpers import in_process
from helpers.html_checks import loads_from_elsewhere, machine_paths
from helpers.system import LIMIT, UNIT, wait_for
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vaerecon.lab.reports.baselines import (
    compare,
    other_libraries,
    read_baseline,
    read_checks,
    renew,
)
from vaerecon.lab.reports.parameters import check_parameters, read_parameters
from vaerecon.lab.reports.recording import NotebookError, Run
from vaerecon.lab.reports.report import NOTEBOOK, heard_text
from vaerecon.lab.reports.runs import blob_hash, run_notebook
from vaerecon.lab.reports.scrub import path_scrubber

ROOT = Path(__file__).parents[2]
DECLARED = """clip: str = ""  # a file
length: float = 1.0  # s
count: int = 2
loud: bool = False
names: list[str] = ["a"]
things: list = []"""


def write(path: Path, *cells: str, parameters: str = DECLARED, title: str = "# A <title>") -> Path:
    """A notebook of these code cells, its parameters cell first."""
    notebook = new_notebook(
        cells=[
            new_markdown_cell(title),
            new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            *map(new_code_cell, cells),
        ]
    )
    nbformat.write(notebook, path)
    return path


# --- parameters -----------------------------------------------------------------------------------


def declared(source: str) -> dict:
    cell = new_code_cell(source, metadata={"tags": ["parameters"]})
    return read_parameters(new_notebook(cells=[new_code_cell("x = 1"), cell]), "a.ipynb")


def test_parameters_are_read_as_python_reads_them():
    found = declared(DECLARED + '\nodd: str = "a = b"  # what papermill leaves out, for its "="')
    kinds = {name: (p.kind, p.default) for name, p in found.items()}
    assert kinds == {
        "clip": ("str", ""),
        "length": ("float", 1.0),
        "count": ("int", 2),
        "loud": ("bool", False),
        "names": ("list[str]", ["a"]),
        "things": ("list", []),
        "odd": ("str", "a = b"),
    }


def test_a_notebook_without_the_cell_has_no_parameters():
    assert read_parameters(new_notebook(cells=[new_code_cell("x: int = 1")]), "a.ipynb") == {}


@pytest.mark.parametrize(
    "line",
    [
        "x = 1",
        "x: int",
        "x: int = 1 + 1",
        "x: int = len('a')",
        "x: int = 1.0",
        "x: int = True",
        "x: int | None = None",
        "x: str = None",
        "x: list[int] = ['a']",
        "x: dict = {}",
        "import os",
        "x: int = ",
    ],
)
def test_anything_but_a_literal_of_its_type_is_refused(line):
    with pytest.raises(ValueError, match=r"a\.ipynb, parameters cell"):
        declared(f"good: int = 1\n{line}")


def test_two_cells_of_parameters_are_refused():
    cell = new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})
    with pytest.raises(ValueError, match="got 2 cells"):
        read_parameters({"cells": [cell, cell]}, "a.ipynb")


def test_values_that_fit_pass_and_a_whole_number_becomes_a_float():
    given = {"clip": "x.wav", "length": 2, "loud": True, "names": [], "things": [1, "a"]}
    checked = check_parameters(declared(DECLARED), given, "a.ipynb")
    assert checked == given
    assert type(checked["length"]) is float


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lenght", 1.0, "did you mean 'length'"),
        ("wholly_other", 1, "expected one of clip, length, count"),
        ("clip", 3, "expected a text"),
        ("clip", None, "expected a text"),
        ("length", "2", "expected a number"),
        ("length", float("nan"), "expected a number"),
        ("length", True, "expected a number"),
        ("count", 2.0, "expected a whole number"),
        ("count", True, "expected a whole number"),
        ("loud", 1, "expected true or false"),
        ("names", "a", r"expected a list\[str\]"),
        ("names", [1], r"expected a list\[str\]"),
        ("things", [None], "expected a list"),
    ],
)
def test_an_unknown_name_or_another_type_is_refused_before_a_kernel_starts(
    tmp_path, name, value, message
):
    path = write(tmp_path / "a.ipynb", "raise SystemError('it ran')")
    with pytest.raises(ValueError, match=message):
        run_notebook(path, {name: value}, tmp_path / "reports")
    assert [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


# --- a run ----------------------------------------------------------------------------------------

SOUND = base64.b64encode(np.random.default_rng(0).bytes(200_000)).decode()
CELLS = [
    "import os, sys, tempfile, warnings\nfrom pathlib import Path\n"
    "from IPython.display import HTML, Markdown, display\n"
    "from vaerecon.lab.reports.recording import record",
    'record("seconds", length * count, "s")\nrecord("letters", len(names))',
    "print(sorted(os.listdir()), Path(clip).read_text())",
    "print(os.getcwd(), sys.prefix, Path.home(), tempfile.gettempdir(), os.__file__)\n"
    "print(Path('x').absolute().as_uri(), os.path.realpath(clip))\n"
    "warnings.warn('beware')",
    "import nbformat\ntry:\n    nbformat.read('none.ipynb', 4)\nexcept Exception as error:\n"
    "    import traceback\n    traceback.print_exc()",
    "display(Markdown(f'*cwd* {os.getcwd()} of {clip}'))\n"
    f"HTML('<audio controls src=\"data:audio/wav;base64,{SOUND}\"></audio>')",
    "import ipywidgets\nipywidgets.IntSlider()",
    "from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)):\n    pass",
    "from IPython.display import Image\nImage(url='https://example.org/a.png')",
]


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("somewhere")
    (folder / 'it\'s <b>my "song".txt').write_text("la la")
    title = "# A <title>\n\nThe [next](02_next.ipynb), the [source](https://example.org)."
    return write(folder / "all.ipynb", *CELLS, title=title)


@pytest.fixture(scope="module")
def run(source, output) -> Run:
    (song,) = source.parent.glob("*.txt")
    given = {"length": 3, "clip": song.name}
    return run_notebook(source, given, output, files=[song], timeout=120)


@pytest.fixture(scope="module")
def page(run, output) -> str:
    return (output / "all.html").read_text(encoding="utf-8")


def text_of(run: Run) -> str:
    return "".join(
        output.get("text", "") for c in run.notebook.cells for output in c.get("outputs", [])
    )


@pytest.mark.process
def test_records_are_collected_into_the_notebook_and_a_json_beside_it(run, output):
    expected = {"seconds": {"value": 6.0, "unit": "s"}, "letters": {"value": 1.0, "unit": ""}}
    assert run.records == expected
    assert json.loads((output / "all.json").read_text(encoding="utf-8"))["records"] == expected
    notebook = nbformat.read(output / "all.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.vaerecon.records == expected
    assert sorted(p.name for p in output.iterdir()) == ["all.html", "all.ipynb", "all.json"]


@pytest.mark.process
def test_the_run_says_what_made_it(run, source, page):
    stamp = run.stamp
    assert stamp["notebook"] == "all.ipynb"
    assert stamp["parameters"]["length"] == 3.0  # as given
    assert stamp["parameters"]["count"] == 2  # as declared
    assert stamp["device"] == "cpu"  # it did not import torch
    assert {"python", "vaerecon", "torch", "papermill"} <= stamp["versions"].keys()
    assert stamp["failure"] is None
    for word in (stamp["source_blob"], stamp["versions"]["torch"], "length", "3.0", "cpu"):
        assert word in page.partition("<footer>")[2]


@pytest.mark.process
def test_the_source_hash_is_git_s(source, run):
    text = source.read_bytes()
    assert run.stamp["source_blob"] == blob_hash(text)
    assert blob_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    if shutil.which("git"):
        found = subprocess.run(["git", "hash-object", source], capture_output=True, text=True)
        assert found.stdout.strip() == blob_hash(text)


@pytest.mark.process
def test_it_runs_in_a_folder_that_holds_only_the_files_it_was_given(run):
    assert text_of(run).startswith("""['it\\'s <b>my "song".txt'] la la""")


@pytest.mark.process
def test_no_output_names_a_folder_of_this_machine(run, source, output):
    for path in output.iterdir():
        text = path.read_text(encoding="utf-8")
        assert machine_paths(text, source.parent, output, ROOT) == []
        assert "ipykernel_" not in text
    text = text_of(run)
    assert re.search(r"^\. python ~ tmp python[/\\]os\.py$", text, re.MULTILINE)
    assert "cell:3: UserWarning: beware" in text
    assert re.search(r'File "site-packages[/\\]nbformat[/\\]', text)


@pytest.mark.process
def test_the_page_stands_alone(page):
    found = loads_from_elsewhere(page)
    # what a cell asks for by itself the page's policy forbids; nothing else asks for anything
    assert found == ["<img src=https://example.org/a.png>"]
    policy = re.search(r'<meta content="([^"]*)" http-equiv="Content-Security-Policy"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert "http" not in policy
    assert SOUND in page  # scrubbing paths did no harm to what looks like one


@pytest.mark.process
def test_the_page_shows_names_as_they_are(page):
    assert "<b>my" not in page
    assert "&lt;b&gt;my" in page
    assert "<title>A &lt;title&gt;</title>" in page


@pytest.mark.process
def test_the_page_links_to_pages(page):
    assert '<a href="02_next.html">next</a>' in page
    assert '<a href="https://example.org">source</a>' in page


@pytest.mark.process
def test_for_a_widget_there_is_a_note_and_for_a_progress_bar_nothing(run, page):
    assert page.count('class="widget-note"') == 1
    assert "IntSlider" not in page.replace("ipywidgets", "").partition("<main>")[2].replace(
        '<span class="n">IntSlider</span>', ""
    )
    assert "%|" not in page
    assert "widget-view" not in json.dumps(run.notebook)
    assert "widgets" not in run.notebook.metadata


@pytest.mark.process
def test_the_source_is_not_changed(source, run):
    notebook = nbformat.read(source, as_version=4)
    assert [c.source for c in notebook.cells[2:]] == CELLS
    assert not any(c.get("outputs") for c in notebook.cells)


# --- runs that fail -------------------------------------------------------------------------------


def failing(folder: Path, *cells: str, **options) -> NotebookError:
    path = write(folder / "bad.ipynb", "print('so far')", *cells, "print('never')")
    with pytest.raises(NotebookError) as caught:
        run_notebook(path, {"count": 3}, folder / "reports", **options)
    names = sorted(p.name for p in (folder / "reports").iterdir())
    assert names == ["bad.failed.html", "bad.failed.ipynb", "bad.failed.json"]
    page = (folder / "reports" / "bad.failed.html").read_text(encoding="utf-8")
    assert "This run did not finish." in page
    assert "so far" in page.replace('<span class="s1">', "")
    assert loads_from_elsewhere(page) == []
    assert caught.value.run.failure in str(caught.value)
    assert "what ran is in" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "never" not in text_of(caught.value.run)
    return caught.value


@pytest.mark.process
def test_a_failing_cell_is_named_in_one_line(tmp_path):
    code = "import os\nraise ValueError(f'got {os.getcwd()},\\nexpected better')"
    error = failing(tmp_path, code)
    # the third code cell of the notebook as it stands, with its parameters cell
    assert str(error).startswith(
        "bad.ipynb, code cell 3 ('import os'): ValueError: got ., expected better; what ran"
    )
    for path in (tmp_path / "reports").iterdir():
        assert machine_paths(path.read_text(encoding="utf-8"), ROOT) == [], path.name
    assert "papermill-error" not in json.dumps(error.run.notebook)

    write(tmp_path / "bad.ipynb", "1")
    run_notebook(tmp_path / "bad.ipynb", {}, tmp_path / "reports")
    names = sorted(p.name for p in (tmp_path / "reports").iterdir())
    assert names == ["bad.html", "bad.ipynb", "bad.json"]  # the failure is past


@pytest.mark.process
def test_what_a_kernel_writes_beside_its_cells_does_not_reach_the_terminal(tmp_path, capfd):
    """Some kernels print a traceback while they are shut down: their sockets are closed already."""
    write(tmp_path / "one.ipynb", "import atexit, os\natexit.register(os.write, 2, b'late')")
    run_notebook(tmp_path / "one.ipynb", {}, tmp_path / "reports")
    assert capfd.readouterr() == ("", "")


@pytest.mark.process
@pytest.mark.fault
def test_a_kernel_that_does_not_start_says_why(tmp_path, monkeypatch, capfd):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("raise SystemExit('no room left')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    error = failing(tmp_path, "1")
    assert "the kernel did not start" in str(error)
    assert "no room left" in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.process
@pytest.mark.fault
def test_a_kernel_that_dies_is_reported_with_what_to_do(tmp_path):
    error = failing(tmp_path, "import os\nos._exit(1)")
    assert "code cell 3 ('import os'): the kernel died" in str(error)
    assert "take a shorter clip" in str(error)


@pytest.mark.process
def test_a_notebook_that_takes_too_long_is_stopped(tmp_path):
    started = time.monotonic()
    allowed = round(2 * UNIT)  # s; a kernel starts and the first cell runs in less
    # each cell stays under the limit, together they do not
    cells = [f"import time\ntime.sleep({allowed / 2})"] * 200
    error = failing(tmp_path, *cells, timeout=allowed)
    assert f"the notebook's {allowed} s were up; allow it more time (timeout)" in str(error)
    assert time.monotonic() - started < 50 * allowed  # of 100, had it run on


@pytest.mark.process
def test_a_cell_that_leaves_is_no_success(tmp_path):
    error = failing(tmp_path, "import sys\nsys.exit()")
    assert "it ended the notebook (SystemExit)" in str(error)


@pytest.mark.process
def test_a_name_recorded_twice_is_a_failure(tmp_path):
    cell = "from vaerecon.lab.reports.recording import record\nrecord('x', 1)\nrecord('x', 2)"
    path = write(tmp_path / "a.ipynb", cell)
    with pytest.raises(NotebookError, match="'x' was recorded twice"):
        run_notebook(path, {}, tmp_path / "reports")


@pytest.mark.parametrize("text", ["not json", '{"cells": 3}', "[]", ""])
def test_what_is_no_notebook_is_refused(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(ValueError, match=r"a\.ipynb: expected a notebook"):
        run_notebook(tmp_path / "a.ipynb", {}, tmp_path / "reports")


def test_files_that_are_not_there_or_share_a_name_are_refused(tmp_path):
    path = write(tmp_path / "a.ipynb", "1")
    (tmp_path / "b").mkdir()
    for file in (tmp_path / "x.wav", tmp_path / "b" / "x.wav"):
        file.write_text("")
    with pytest.raises(FileNotFoundError, match=r"'y\.wav', but there is no such file"):
        run_notebook(path, {}, tmp_path / "r", files=[tmp_path / "y.wav"])
    with pytest.raises(ValueError, match=r"two called 'x\.wav'"):
        run_notebook(path, {}, tmp_path / "r", files=[tmp_path / "x.wav", tmp_path / "b/x.wav"])
    with pytest.raises(FileNotFoundError, match=r"'none\.ipynb'"):
        run_notebook(tmp_path / "none.ipynb")
    assert not (tmp_path / "r").exists()


# --- paths ----------------------------------------------------------------------------------------


def test_paths_give_way_to_words_wherever_they_stand(tmp_path):
    scrub = path_scrubber([tmp_path / "song.wav"], tmp_path / "work")
    packages = Path(np.__file__).parents[1]
    work = tmp_path / "work"
    assert scrub(f"in {work}/a.txt") == "in ./a.txt"
    assert scrub(f"({work})") == "(.)"
    assert (
        scrub(f"\x1b[32m{packages}/numpy/x.py:3\x1b[0m")
        == "\x1b[32msite-packages/numpy/x.py:3\x1b[0m"
    )
    assert scrub(f"file://{tmp_path}/song.wav") == "song.wav"
    assert scrub(json.dumps({"a": str(packages)})) == '{"a": "site-packages"}'
    assert scrub(f"{ROOT / 'vaerecon' / 'mel' / 'stft.py'}:12") == "vaerecon/mel/stft.py:12"
    assert scrub("/and/other paths, and/or words") == "/and/other paths, and/or words"
    assert scrub(f"{work}-other") == scrub(str(tmp_path)) + "/work-other"  # another folder
    inside = f"AAAA{tmp_path}/AAA="  # could be base64
    assert scrub(inside) == inside


def test_paths_that_python_shortens_by_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    scrub = path_scrubber([], tmp_path / "kit" / "work")
    assert scrub("File ~/kit/work/x.py:1") == "File ./x.py:1"
    assert scrub(f"{tmp_path}/private") == "~/private"


# --- baselines ------------------------------------------------------------------------------------


def make_run(records: dict, parameters: dict | None = None, torch: str = "1") -> Run:
    stamp = {
        "parameters": parameters or {"length": 1.0},
        "device": "cpu",
        "versions": {"torch": torch},
        "records": {name: {"value": v, "unit": "dB"} for name, v in records.items()},
    }
    return Run("a", new_notebook(), stamp, None)


def moved(baseline: dict, **records: float) -> list[tuple[str, str]]:
    return [(d.metric, d.moved) for d in compare(baseline, make_run(records))]


def test_a_number_may_move_by_its_tolerance_and_no_more():
    baseline = renew(None, make_run({"x": -2.5, "n": 7.0, "zero": 0.0}))
    baseline["metrics"]["x"] |= {"absolute": 0.1, "relative": 0.2}  # 0.1 + 0.2 * 2.5 = 0.6
    assert moved(baseline, x=-2.5, n=7.0, zero=0.0) == []
    assert moved(baseline, x=-3.09, n=7.0, zero=0.0) == []
    assert moved(baseline, x=-1.91, n=7.0, zero=0.0) == []
    assert moved(baseline, x=-1.89, n=7.0, zero=0.0) == [("x", "+0.61 (-24 %)")]
    assert moved(baseline, x=-2.5, n=8.0, zero=0.1) == [("n", "+1 (+14 %)"), ("zero", "+0.1")]


def test_numbers_that_come_and_go_and_other_units_are_drift():
    baseline = renew(None, make_run({"x": 1.5, "y": 2.5}))
    assert moved(baseline, x=1.5, z=1.0) == [("y", "gone"), ("z", "new")]
    baseline["metrics"]["x"]["unit"] = "nepers"
    assert moved(baseline, x=1.5, y=2.5) == [("x", "other unit")]
    assert [d.moved for d in compare(None, make_run({"x": 1.0}))] == ["no baseline yet"]


def test_numbers_of_other_parameters_are_not_compared_silently():
    baseline = renew(None, make_run({"x": 1.5}, {"length": 1.0, "seed": 0}))
    (drift,) = compare(baseline, make_run({"x": 1.5}, {"length": 2.0, "seed": 0}))
    assert (drift.moved, drift.was, drift.now) == ("other parameters", "length=1.0", "length=2.0")


def test_what_else_changed_is_named():
    baseline = renew(None, make_run({"x": 1.5}))
    assert other_libraries(baseline, make_run({"x": 1.5}, torch="2")) == ["torch 1, now 2"]
    assert other_libraries(baseline, make_run({"x": 1.5})) == []


def test_an_update_keeps_tolerances_and_reasons():
    old = renew(None, make_run({"x": 1.5, "y": 2.5}))
    assert old["metrics"]["x"]["relative"] > 0
    assert all(entry["reason"] for entry in old["metrics"].values())
    kept = {"absolute": 0.3, "relative": 0.0, "reason": "measured on two machines"}
    old["metrics"]["x"] |= kept
    new = renew(old, make_run({"x": 9.5, "z": 1.0}))
    assert new["metrics"]["x"] == {"value": 9.5, "unit": "dB", **kept}
    assert list(new["metrics"]) == ["x", "z"]


@pytest.mark.parametrize(
    "change",
    [
        {"reason": ""},
        {"relative": -0.1},
        {"absolute": "much"},
        {"value": None},
        {"unit": ...},
        {"reason": ...},
    ],
)
def test_a_baseline_without_tolerance_or_reason_is_refused(tmp_path, change):
    baseline = renew(None, make_run({"x": 1.5}))
    for key, value in change.items():
        if value is ...:
            del baseline["metrics"]["x"][key]
        else:
            baseline["metrics"]["x"][key] = value
    (tmp_path / "a.json").write_text(json.dumps(baseline))
    with pytest.raises(ValueError, match=r"a\.json: not a baseline"):
        read_baseline(tmp_path, "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {timeout: 5", "not valid YAML"),
        ("b: {timeout: 5}", "got entries for b, expected one for each notebook in its folder: a"),
        ("", "got entries for nothing"),
        ("a:", "checks.yaml, a: got None"),
        ("a: {timeout: 5, paramters: {}}", "expected files, parameters, timeout, vary"),
        ("a: {parameters: {}}", "timeout = None, expected seconds"),
        ("a: {timeout: 0}", "timeout = 0, expected seconds"),
        ("a: {timeout: true}", "expected seconds"),
        ("a: {timeout: 5, parameters: [1]}", r"parameters = \[1\], expected a dict"),
    ],
)
def test_a_mistake_in_checks_yaml_is_named(tmp_path, text, message):
    write(tmp_path / "a.ipynb", "1")
    (tmp_path / "checks.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_checks(tmp_path)


# --- the command line -----------------------------------------------------------------------------


MEASURE = """from vaerecon.lab.reports.recording import record
record("level", 2.5 * length, "dB")
record("frames", 100)"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> Path:
    """A folder with one notebook, its entry and its baseline."""
    folder = tmp_path_factory.mktemp("checked")
    (folder / "notebooks").mkdir()
    write(folder / "notebooks" / "one.ipynb", MEASURE)
    (folder / "notebooks" / "checks.yaml").write_text("one: {timeout: 60, parameters: {length: 2}}")
    made = in_process.run("check", "--update", cwd=folder)
    assert made.status == 0, made.stderr
    return folder


@pytest.fixture
def project(checked, tmp_path) -> Path:
    """A copy of it for one test."""
    return shutil.copytree(checked, tmp_path, dirs_exist_ok=True)


@pytest.mark.process
def test_check_passes_on_what_it_wrote_itself(project):
    baseline = json.loads((project / "tests" / "baselines" / "one.json").read_text())
    assert baseline["metrics"]["level"]["value"] == 5.0
    assert baseline["parameters"]["length"] == 2.0
    done = in_process.run("check", cwd=project)
    assert done.status == 0, done.stderr
    assert "one: 2 numbers" in done.stdout
    assert "All as in the baselines." in done.stdout
    assert sorted(p.name for p in (project / "reports").iterdir()) == [
        "one.html",
        "one.ipynb",
        "one.json",
    ]


@pytest.mark.process
def test_check_catches_a_number_that_moved_and_update_takes_it(project):
    baseline = project / "tests" / "baselines" / "one.json"
    written = json.loads(baseline.read_text())
    written["metrics"]["level"] |= {"absolute": 0.2, "relative": 0.0, "reason": "the ear's 0.2 dB"}
    baseline.write_text(json.dumps(written))
    write(project / "notebooks" / "one.ipynb", MEASURE.replace("2.5", "2.65"))

    done = in_process.run("check", "one", cwd=project)
    assert done.status == 1
    shown = " ".join(done.stdout.split())
    assert "level 5 dB 5.3 dB +0.3 (+6 %) ±0.2 the ear's 0.2 dB" in shown
    assert "frames" not in shown
    assert "1 not as in the baselines" in done.stderr

    assert in_process.run("check", "--update", cwd=project).status == 0
    updated = json.loads(baseline.read_text())["metrics"]["level"]
    assert updated["value"] == pytest.approx(5.3)
    assert updated["reason"] == "the ear's 0.2 dB"


@pytest.mark.process
def test_check_with_a_failing_notebook_ends_with_3_and_updates_nothing(project):
    before = (project / "tests" / "baselines" / "one.json").read_bytes()
    write(project / "notebooks" / "one.ipynb", MEASURE.replace("2.5", "3.5"))
    write(project / "notebooks" / "two.ipynb", "raise KeyError('gone [/red]')")
    (project / "notebooks" / "checks.yaml").write_text("one: {timeout: 60}\ntwo: {timeout: 60}")
    done = in_process.run("check", "--update", cwd=project)
    assert done.status == 3
    assert "two.ipynb, code cell 2 (\"raise KeyError('gone [/red]')\"): KeyError" in done.stderr
    assert "did not run to their end: two; no baseline was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert (project / "tests" / "baselines" / "one.json").read_bytes() == before
    assert not (project / "tests" / "baselines" / "two.json").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check"], "start vaerecon in a checkout of the project"),
        (["check", "--notebooks-dir", "some", "onne"], "did you mean 'one'"),
        (["check", "--notebooks-dir", "some", "--baselines", "bad"], "not a baseline"),
        (["report", "none.wav"], "there is none"),
        (["report", "SONG", "--methods", "vocodr"], "did you mean 'vocoder'"),
        (["report", "SONG", "--model", "musik"], "did you mean 'music'"),
        (["report", "SONG", "--max-length", "-1"], "max_length"),
        (["report", "SONG", "--output", "some"], "which is a folder"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, sound, args, message):
    (tmp_path / "some").mkdir()
    write(tmp_path / "some" / "one.ipynb", "1")
    (tmp_path / "some" / "checks.yaml").write_text("one: {timeout: 60}")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "one.json").write_text("{}")
    song = tmp_path / "song.wav"
    sf.write(song, sound, 16000)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    done = in_process.run(*[song if a == "SONG" else a for a in args], cwd=tmp_path)
    assert done.status == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "args", [["check", "--help"], ["report", "--help"], ["check"], ["report", "none.wav"]]
)
@pytest.mark.process
def test_help_and_errors_load_neither_torch_nor_papermill(tmp_path, args):
    code = (
        "import sys; from vaerecon.cli.main import main; sys.argv = ['vaerecon', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'papermill', 'nbconvert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.process
@pytest.mark.fault
def test_ctrl_c_leaves_no_kernel_and_no_half_report(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "tmp").mkdir()
    mark = tmp_path / "pid"
    write(
        tmp_path / "notebooks" / "one.ipynb",
        f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(100_000)",
    )
    (tmp_path / "notebooks" / "checks.yaml").write_text("one: {timeout: 90_000}")
    # a process that was started in the background ignores Ctrl-C, and hands that on: undo it
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from vaerecon.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "check"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    errors = (tmp_path / "errors").open("w")
    with errors, subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=errors) as process:
        wait_for(lambda: mark.exists() and mark.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=LIMIT) == 130
    assert "interrupted" in (tmp_path / "errors").read_text()
    assert not (tmp_path / "reports").exists()
    assert not list((tmp_path / "tmp").glob("vaerecon-*"))
    pid = int(mark.read_text())
    wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- the report -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.process
def test_report_is_one_page_that_stands_alone(tmp_path, sound):
    song = tmp_path / "<script>my <img src=x> & *song*.wav"
    sf.write(song, sound, 16000)
    args = ["--output", "out/page.html", "--methods", "vocoder,griffinlim", "--max-length", "0.9"]
    done = in_process.run("report", song.name, *args, cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert "Written: out/page.html" in done.stdout.replace("\\", "/")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["page.html"]

    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert loads_from_elsewhere(page) == []
    assert machine_paths(page, tmp_path, ROOT) == []
    assert "&lt;script&gt;my &lt;img src=x&gt; &amp; *song*" in page
    assert page.count('src="data:audio/wav;base64,') >= 4  # the original and three more
    assert page.count('src="data:image/png;base64,') == 2
    assert page.count('alt="') == page.count("<img") == 2
    assert "VAE minus original: mean absolute difference" in page.partition('alt="')[2][:600]
    body = page.partition("<body>")[2]
    assert 'class="highlight' not in body  # no code
    heard = "the first 0.9 s of 1.0 s"
    assert heard in done.stdout
    order = [heard, "Recommended:", 'id="Scores"', "<audio", 'id="Spectrograms"', "keep in mind"]
    places = [body.index(text) for text in order]
    assert places == sorted(places)
    links = re.findall(r'<a href="#([^"]+)">', body.partition("</nav>")[0])
    assert len(links) == 5
    assert all(f'<h2 id="{link}"' in body for link in links)
    boxes = re.findall(r'<div [^>]*class="scroll"[^>]*>', body)
    assert all('tabindex="0"' in box for box in boxes)
    assert len(boxes) == body.count("<table") - 1  # the footer's needs none
    assert ".ipynb" not in page.partition("<footer>")[0]  # no link to what is not there
    assert "0.9" in page.partition("<footer>")[2]


@pytest.mark.slow
@pytest.mark.process
def test_a_report_that_fails_ends_with_3_and_is_not_taken_for_one(tmp_path, sound):
    sf.write(tmp_path / "song.wav", sound, 16000)
    (tmp_path / "report.html").write_text("of yesterday")
    done = in_process.run("report", "song.wav", "--timeout", "1", cwd=tmp_path)
    assert done.status == 3
    assert f"{NOTEBOOK.name}, code cell" in done.stderr
    assert "the notebook's 1 s were up" in done.stderr
    assert "what ran is in report.failed.html" in done.stderr
    assert (tmp_path / "report.html").read_text() == "of yesterday"
    assert "This run did not finish." in (tmp_path / "report.failed.html").read_text()


@pytest.mark.parametrize(
    ("seconds", "length", "text"),
    [
        (12.3, 12.3, "a.wav: all of it, 12.3 s."),
        (30.0, 184.2, "a.wav: the first 30.0 s of 184.2 s."),
        (4.0, None, "a.wav: 4.0 s were read; the file does not tell its length."),
    ],
)
def test_how_much_was_read_is_said(seconds, length, text):
    assert heard_text("a.wav", seconds, length) == text
