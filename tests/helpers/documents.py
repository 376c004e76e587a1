"""The README and the guide, taken apart: Markdown, code spans, links, command lines."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import click
import pytest

from vaerecon.cli.main import cli

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph, a list item, a row of a table, or a fenced block of code."""

    line: int  # in the file, from 1
    kind: str
    text: str

    @property
    def facts(self) -> tuple[str, ...]:
        """What no translation changes."""
        if self.kind.endswith("code"):
            return tuple(self.text.splitlines())
        words = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", self.text)
        # not the 2 of AudioLDM2 or the 32 of float32, which stand wherever the grammar wants them
        numbers = re.findall(rf"(?<![A-Za-z0-9_.]){MINUS}?\d+(?:[.,]\d+)*", words)
        found = [f"number {number}" for number in numbers]
        found += [f"code `{span}`" for span in code_spans(self.text)]
        found += [f"link to {link.replace('.zh-CN', '')}" for link in links(self.text)]
        found += ["bold"] * (self.text.count("**") // 2)
        if self.kind.startswith("row"):
            found.append(f"first cell {cells(self.text)[0]!r}")
        return tuple(sorted(found))


def read_blocks(text: str) -> list[Block]:
    found: list[Block] = []
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        start = i
        i += 1
        if lines[start].startswith("```"):
            while lines[i] != "```":
                i += 1
            i += 1
            kind = f"{lines[start][3:]} code"
        elif heading := re.match("#+ ", lines[start]):
            kind = f"heading {heading[0].strip()}"
        elif lines[start].startswith("|"):
            if re.fullmatch(r"[|: -]+", lines[start]):
                continue
            head = start == 0 or not lines[start - 1].startswith("|")
            kind = f"{'head' if head else 'row'} of {len(cells(lines[start]))} cells"
        elif lines[start].strip():
            kind = "list item" if re.match(r"\s*([-*]|\d+\.) ", lines[start]) else "paragraph"
            while i < len(lines) and not re.match(r"\s*$|```|#+ |\||\s*([-*]|\d+\.) ", lines[i]):
                i += 1
        else:
            continue
        found.append(Block(start + 1, kind, "\n".join(lines[start:i])))
    return found


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def code_spans(text: str) -> list[str]:
    """Inline code; a span may go on in the next line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text))


def page_links(text: str) -> list[str]:
    prose = [block for block in read_blocks(text) if not block.kind.endswith("code")]
    return [link for block in prose for link in links(block.text)]


def find_command(words: list[str]) -> tuple[click.Command, list[str]] | None:
    """The project's command that the words start, and its arguments; None for others' programs."""
    if words[:1] == ["vaerecon"]:
        return cli, words[1:]
    if words[:2] != ["python", "-m"] or words[2].split(".")[0] not in ("vaerecon", "benchmarks"):
        return None
    if words[2] == "vaerecon":
        return cli, words[3:]
    is_package = find_spec(words[2]).submodule_search_locations
    module = import_module(words[2] + ".__main__" * bool(is_package))
    if isinstance(module.main, click.Command):
        return module.main, words[3:]
    return import_module("benchmarks.common").make_command(module.run), words[3:]


def subcommands(command: click.Command) -> list[click.Command]:
    """All below a command: `train`, and `train vae` below that."""
    below = list(getattr(command, "commands", {}).values())
    return below + [each for group in below for each in subcommands(group)]


def parse(words: list[str], monkeypatch) -> dict | None:
    """What click makes of a command line, down to the subcommand, which does not run."""
    if (found := find_command(words)) is None:
        return None
    command, arguments = found
    taken: list[dict] = []
    for each in [command, *subcommands(command)]:
        monkeypatch.setattr(each, "callback", lambda **options: taken.append(options))
    try:
        command.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        pytest.fail(f"`{shlex.join(words)}`: {error.format_message()}")
    return taken[-1] if taken else {}  # {} for --help and --version
