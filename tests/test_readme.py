"""What README.md and the pages in docs/ say is so, and the Chinese pages say the same."""

from __future__ import annotations

import difflib
import re
import runpy
import shlex
import shutil
import unicodedata
from pathlib import Path

import pytest
import soundfile as sf
import yaml
from helpers.documents import (
    MINUS,
    cells,
    code_spans,
    page_links,
    parse,
    read_blocks,
    subcommands,
)

from vaerecon.bundled import TINY
from vaerecon.cli.main import cli
from vaerecon.methods import METHODS, select_methods
from vaerecon.metrics.scores import METRICS, ON_REQUEST
from vaerecon.models.sources import VARIANTS, cached, check_source

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
TRANSLATED = [ENGLISH, *sorted(f"docs/{path.name.replace('.zh-CN', '')}"
                               for path in (ROOT / "docs").glob("*.zh-CN.md"))]  # fmt: skip
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for page in TRANSLATED
    for name in (page, page.replace(".md", ".zh-CN.md"))
}
README = TEXTS[ENGLISH]
LONGEST = 9500  # characters of README.md: what a visitor reads
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


# --- reading Markdown -----------------------------------------------------------------------------


BLOCKS = [
    block
    for page in [*TRANSLATED, "CONTRIBUTING.md"]
    for block in read_blocks((ROOT / page).read_text(encoding="utf-8"))
]


def read_table(head: str) -> list[list[str]]:
    """The rows of the English pages' table whose first column is called ``head``."""
    rows, inside = [], False
    for block in BLOCKS:
        if block.kind.startswith("head of"):
            inside = cells(block.text)[0] == head
        elif block.kind.startswith("row") and inside:
            rows.append(cells(block.text))
    return rows


PROSE = [block for block in BLOCKS if not block.kind.endswith("code")]
SPANS = sorted({span for block in PROSE for span in code_spans(block.text)})


def console_lines() -> list[str]:
    """Commands of the console blocks; in a block with prompts the rest is output."""
    found = []
    for block in BLOCKS:
        if block.kind == "console code":
            lines = "\n".join(block.text.splitlines()[1:-1]).replace("\\\n", " ").splitlines()
            found += [line[2:] for line in lines if line.startswith("$ ")] or lines
    return found


COMMANDS = [shlex.split(line, comments=True) for line in console_lines()]
COMMANDS += [shlex.split(span) for span in SPANS if re.match(r"(make|vaerecon|python -m) ", span)]


# --- the two languages ----------------------------------------------------------------------------


def differences(english: str, chinese: str) -> list[str]:
    """What the second text lacks of the first, or has beyond it, with lines to look at."""
    ours, theirs = read_blocks(english), read_blocks(chinese)
    keys = [[(block.kind, block.facts) for block in blocks] for blocks in (ours, theirs)]
    found = []
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, *keys, False).get_opcodes():
        if tag == "equal":
            continue
        here, there = ours[i:i_end], theirs[j:j_end]
        if [block.kind for block in here] == [block.kind for block in there]:
            for one, other in zip(here, there, strict=True):
                changes = [
                    f"\n    only in {ENGLISH if line[0] == '-' else CHINESE}: {line[2:]}"
                    for line in difflib.ndiff(one.facts, other.facts)
                    if line[0] in "-+"
                ]
                if changes:
                    place = f"{CHINESE}:{other.line} is not as {ENGLISH}:{one.line}"
                    found.append(f"{place} ({one.kind}):{''.join(changes)}")
            continue
        for name, blocks in ((ENGLISH, here), (CHINESE, there)):
            found += [
                f"{name}:{block.line} ({block.kind}) has no counterpart: "
                f"{block.text[:80].splitlines()[0]}"
                for block in blocks
            ]
    return found


@pytest.mark.parametrize("page", TRANSLATED)
def test_the_chinese_page_says_the_same(page):
    """Same outline, code, tables, links, and the same numbers and inline code in each paragraph."""
    other = page.replace(".md", ".zh-CN.md")
    found = differences(TEXTS[page], TEXTS[other])
    assert not found, f"{other} does not follow {page}:\n" + "\n".join(found)


def test_the_readme_is_short():
    assert len(README) <= LONGEST


PAGE = """# a

One `x` in [3 files](f), **bold**.

| n | what |
|---|---|
| `p` | 5 dB |
| q | 6 dB |

```console
run  # now
```

- first
- second
"""


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ("# a", "## a", "README.md:1 (heading #) has no counterpart: # a"),
        ("`x`", "`y`", "README.zh-CN.md:3 is not as README.md:3 (paragraph):"),
        ("`x`", "`y`", "only in README.md: code `x`"),
        ("`x`", "`y`", "only in README.zh-CN.md: code `y`"),
        ("3 files", "4 files", "only in README.zh-CN.md: number 4"),
        ("(f)", "(g)", "only in README.md: link to f"),
        ("**bold**", "bold", "only in README.md: bold"),
        ("5 dB", f"{MINUS}5 dB", f"only in README.zh-CN.md: number {MINUS}5"),
        ("| q | 6 dB |\n", "", "README.md:8 (row of 2 cells) has no counterpart: | q | 6 dB |"),
        ("| q |", "| r |", "only in README.zh-CN.md: first cell 'r'"),
        ("| what |", "| what | why |", "README.zh-CN.md:5 (head of 3 cells) has no counterpart"),
        ("# now", "# later", "only in README.md: run  # now"),
        ("```console", "```python", "README.md:10 (console code) has no counterpart"),
        ("- second\n", "", "README.md:15 (list item) has no counterpart: - second"),
        ("\n- first", "\nmore\n\n- first", "README.zh-CN.md:14 (paragraph) has no counterpart"),
    ],
)
def test_a_difference_is_told(was, now, told):
    assert told in "\n".join(differences(PAGE, PAGE.replace(was, now)))


def test_prose_may_differ():
    other = PAGE.replace("One", "Eins").replace("what", "was").replace("first", "erstens")
    assert differences(PAGE, other) == []


@pytest.mark.parametrize("page", TRANSLATED)
def test_each_language_links_to_the_other(page):
    other = page.replace(".md", ".zh-CN.md")
    assert Path(other).name in page_links(TEXTS[page])
    assert Path(page).name in page_links(TEXTS[other])


@pytest.mark.parametrize("name", [name for name in TEXTS if ".zh-CN" in name])
def test_chinese_pages_link_to_chinese_pages(name):
    """Where there is one; the first link leads back to the English page."""
    folder = Path(name).parent
    english = [link for link in page_links(TEXTS[name])[1:] if str(folder / link) in TRANSLATED]
    assert english == []


def test_bold_text_is_shown_bold():
    """CommonMark closes no ** between punctuation and a letter: a space must follow it."""
    translation = "".join(text for name, text in TEXTS.items() if ".zh-CN" in name)
    for last, following in re.findall(r"\*\*[^*\n]*([^*\n])\*\*(.)", translation):
        is_mark = unicodedata.category(last).startswith("P")
        is_letter = unicodedata.category(following).startswith(("L", "N"))
        assert not (is_mark and is_letter), f"a space between {last}** and {following}"


@pytest.mark.parametrize("name", TEXTS)
def test_link_targets_exist(name):
    targets = [link.split("#")[0] for link in page_links(TEXTS[name]) if ":" not in link]
    missing = [target for target in targets if not (ROOT / name).parent.joinpath(target).exists()]
    assert not missing, f"{name} links to what is not there: {missing}"


# --- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS, ids=shlex.join)
def test_commands_are_ones_that_the_program_takes(words, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT)  # benchmarks is not installed; the README starts it from here
    monkeypatch.chdir(tmp_path)
    for folder in ("FOLDER", "clips"):
        (tmp_path / folder).mkdir()
    shutil.copytree(TINY, tmp_path / "my_model")  # which `train export` writes
    for name in ("my.py", "table.parquet.yaml"):
        (tmp_path / name).touch()
    options = parse(words, monkeypatch)
    if words[0] == "vaerecon":
        assert options is not None
    if options and "methods" in options:
        select_methods(options["methods"])
    if options and "model" in options:
        models = options["model"]  # of `compare` there may be several
        for model in [models] if isinstance(models, str) else models:
            check_source(model)


def test_there_are_commands_of_every_kind():
    """Else the tests around this one would hold for nothing."""
    assert {"make", "vaerecon", "python", "conda"} <= {words[0] for words in COMMANDS}


def test_a_wrong_command_is_noticed(monkeypatch):
    with pytest.raises(pytest.fail.Exception, match=r"No such option '?--modle"):
        parse(["vaerecon", "song.wav", "--modle", "tiny"], monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="expected a command or an audio file"):
        parse(["vaerecon", "modles"], monkeypatch)


@pytest.mark.parametrize("span", [span for span in SPANS if span.startswith("--")])
def test_options_named_in_the_text_exist(span):
    """As in `--dtype auto` or `--device cpu|cuda|mps`: the name, and each value."""
    name, *values = span.split()
    known = [p for command in subcommands(cli) for p in command.params if name in p.opts]
    assert known, f"{ENGLISH} names {name}, which no command of vaerecon has"
    for value in values[0].split("|") if values else []:
        known[0].type.convert(value, known[0], None)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
    for words in COMMANDS:
        for word in words[1:] if words[0] == "make" else []:
            name, is_variable, _ = word.partition("=")
            assert name in (variables if is_variable else targets), f"{words}: not in the Makefile"


def test_commands_spelled_out_are_those_of_make():
    pairs = re.findall(r"^(\S.*?) +# make ([a-z]+)$", TEXTS["docs/install.md"], re.MULTILINE)
    assert pairs
    for command, target in pairs:
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
        assert f"$(BIN)/{command} $(ARGS)\n" in recipe


def test_conda_makes_the_environment_that_is_activated():
    conda = [words for words in COMMANDS if words[0] == "conda"]
    file = next(words[-1] for words in conda if words[1:3] == ["env", "create"])
    (name,) = (words[-1] for words in conda if words[1] == "activate")
    assert yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["name"] == name


# --- tables ---------------------------------------------------------------------------------------


def test_variants_are_those_of_the_code():
    rows = read_table("`--model`")
    assert [row[0] for row in rows] == [f"`{name}`" for name in VARIANTS]
    for (_, weights, purpose, licence), variant in zip(rows, VARIANTS.values(), strict=True):
        if variant.size is None:
            assert weights == f"bundled, {cached(variant.name) / 1e6:.0f} MB"
        else:
            assert weights == f"`{variant.source}`"
            assert f"{variant.size / 1e6:.0f} MB" in README
        assert purpose.startswith(variant.purpose)
        assert licence.lower().replace(" ", "-") == variant.licence


def test_methods_are_those_of_the_code():
    assert [row[0] for row in read_table("name")] == [f"`{name}`" for name in METHODS]


def test_metrics_are_those_of_the_code():
    """Each once, by its label, with the direction and, where one is given, the range."""
    known = (*METRICS.values(), *ON_REQUEST.values())
    labels = {metric.label.casefold(): metric for metric in known}
    seen = []
    for names, arrows, *prose in read_table("metric"):
        row = names.casefold().split(", ")
        seen += row
        for name, arrow in zip(row, arrows.split(", ") * len(row), strict=False):
            assert name in labels, f"{name} is no label in vaerecon.metrics.METRICS"
            assert arrow == {"higher": "↑", "lower": "↓"}[labels[name].best], name
            for low, high in re.findall(rf"({MINUS}?[\d.]+) to ({MINUS}?[\d.]+)", " ".join(prose)):
                assert f"{low}..{high}".replace(MINUS, "-") == labels[name].range, name
    assert sorted(seen) == sorted(labels)


# --- the Python example ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_python_example_runs_and_gives_what_its_comments_say(tmp_path, monkeypatch, sound):
    (block,) = (block for block in read_blocks(README) if block.kind == "python code")
    script = tmp_path / "example.py"
    script.write_text("\n".join(block.text.splitlines()[1:-1]), encoding="utf-8")
    sf.write(tmp_path / "song.mp3", sound[:12800], 16000)  # too short for ViSQOL, which is slow
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(script))

    clip, mel, result = found["clip"], found["mel"], found["result"]
    assert (clip.samples.dtype, clip.samples.ndim, clip.sample_rate) == ("float32", 1, 16000)
    frames = len(clip.samples) // 160
    assert mel.shape == (frames, 64)
    assert found["latent"].shape == (8, frames // 4, 16)
    assert found["audio"].ndim == 1
    assert set(found["scores"]) == set(METRICS)
    methods = ["vocoder", "fast", "griffinlim", "silence"]
    assert sorted(result.table.index) == sorted((m, vae) for m in methods for vae in (True, False))
    assert result.audio["vocoder"].shape == clip.samples.shape

    patterns = [row[0].strip("`").replace("<clip>", clip.name) for row in read_table("file")]
    expected = {p.replace("<method>", m) for p in patterns for m in methods[:-1]}
    assert {path.name for path in (tmp_path / "my_results").iterdir()} == expected
