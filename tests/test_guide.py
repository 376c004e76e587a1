"""What docs/guide.md names is there: notebooks with their sections, commands, links."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from helpers.documents import code_spans, page_links, parse

import vaerecon as vr
from vaerecon.bundled import demo_clips
from vaerecon.cli.main import cli
from vaerecon.methods import METHODS

DOCS = Path(__file__).parent.parent / "docs"
GUIDE = (DOCS / "guide.md").read_text(encoding="utf-8")
SPANS = code_spans(GUIDE)
COMMANDS = [shlex.split(s) for s in SPANS if re.match(r"(vaerecon|python -m) ", s)]
# a section in quotes belongs to the last notebook that was linked before it
SECTIONS = [
    (links[-1], " ".join(title.split()))
    for row in re.split(r"\n\n|\n(?=\|)", GUIDE)
    for match in re.finditer(r'"([^"]+)"', row)
    if (links := re.findall(r"\(\.\./(notebooks/\w+\.ipynb)\)", row[: match.start()]))
    for title in match.groups()
]
# the scripts of the original guide, in the order of their making
SCRIPTS = [
    "simple_vae_test",
    "stable_vae_test",
    "improved_vae_test",
    "fixed_vocoder_test",
    "enhanced_vae_test",
    "simple_stable_vae_test",
    "final_vocoder_test",
    "ultimate_vae_reconstruction",
    "New_pipeline_audioldm2",
]


def test_every_script_of_the_guide_has_its_place_here():
    table = GUIDE.split("## Its scripts")[1].split("## Its claims")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", table, re.MULTILINE)
    assert [name for name, _ in rows] == SCRIPTS
    for name, here in rows:
        names = code_spans(here)
        runs = any(words.startswith(("vaerecon ", "python -m ")) for words in names)
        assert runs or ".ipynb" in here or "vaerecon.ReconstructionPipeline" in names, name


def test_links_lead_somewhere():
    missing = [link for link in page_links(GUIDE) if not (DOCS / link).exists()]
    assert missing == []


@pytest.mark.parametrize(("notebook", "title"), sorted(set(SECTIONS)))
def test_the_section_is_in_the_notebook(notebook, title):
    cells = json.loads((DOCS.parent / notebook).read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert title in [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]


def test_sections_of_four_notebooks_are_named():
    """Else the test above would hold for nothing."""
    assert len({notebook for notebook, _ in SECTIONS}) >= 4


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_commands_are_ones_that_the_program_takes(words, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(DOCS.parent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    assert parse(words, monkeypatch) is not None


def test_the_vocoder_s_slowness_is_that_of_the_benchmarks():
    results = (DOCS.parent / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    length = float(re.search(r"full_size`\n\n([\d.]+) s of audio", results)[1])
    vocoder = float(re.search(r"^\| vocoder \| [\d.]+ \| ([\d.]+) s", results, re.MULTILINE)[1])
    section = results.split("## Phase retrieval")[1]
    pattern = r"A clip of (\d+) s.*?^\| griffinlim \| ([\d.]+) (ms|s)"
    seconds, took, unit = re.search(pattern, section, re.DOTALL | re.MULTILINE).groups()
    took = float(took) / {"ms": 1000, "s": 1}[unit]
    ratio = (vocoder / length) / (took / float(seconds))
    stated = int(re.search(r"about (\d+) times as long as `griffinlim`", GUIDE)[1])
    assert stated == pytest.approx(ratio, rel=0.05)


def test_memory_is_that_of_the_benchmarks():
    results = (DOCS.parent / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    measured = re.findall(r"^\| cpu \| .* \| ([\d.]+ GB) \| ([\d.]+ GB) \|$", results, re.MULTILINE)
    stated = re.findall(r"^\| .* s.* \| ([\d.]+ GB) \| ([\d.]+ GB) \|$", GUIDE, re.MULTILINE)
    assert len(stated) == 4
    assert stated == measured


def test_clips_methods_and_options_exist():
    assert {span for span in SPANS if span.startswith("demo_")} == set(demo_clips())
    assert {"hybrid", "griffinlim"} <= set(METHODS)
    assert issubclass(vr.ReconstructionPipeline, DiffusionPipeline)
    known = {name for option in cli.commands["reconstruct"].params for name in option.opts}
    named = {span.split()[0].replace("_", "-") for span in SPANS if span.startswith("--")}
    assert named
    assert named <= known
