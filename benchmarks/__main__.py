"""All benchmarks, one after another, to one page.

python -m benchmarks [--quick] [--only mel,phase] [--output benchmarks/RESULTS.md]
                     [--json results/benchmarks.json]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from benchmarks.common import Section, machine, table, write_json
from vaerecon.utils.console import run_command

# in this order on the page; `quality` needs a folder of clips and is called by itself
NAMES = ("mel", "phase", "tiny", "full_size", "startup", "length", "memory", "compare", "gpu")


def page(parts: list[str], facts: dict, quick: bool) -> str:
    """The whole page."""
    command = "python -m benchmarks" + (" --quick" if quick else "")
    rows = [[key.replace("_", " "), str(value)] for key, value in facts.items()]
    head = (
        f"# Benchmarks\n\nMade by `{command}`; do not edit. Medians of repeats in turns; the "
        "spread is slowest less fastest over the median, ratios are the median over the turns "
        "(least to most). Timings on busy cores mean little: look at the load.\n\n"
    )
    return head + table(["machine", ""], rows) + "\n\n" + "\n".join(parts)


def earlier_parts(output: Path) -> dict[str, str]:
    """The sections of an earlier page by title, which `--only` leaves as they are."""
    parts = output.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.split("\n", 1)[0]: f"## {part.rstrip()}\n" for part in parts}


def run_alone(name: str, quick: bool) -> Section:
    """A benchmark in a process of its own: what one leaves behind would change another's times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.json"
        code = (
            "from dataclasses import asdict; from pathlib import Path; import json; "
            f"from benchmarks.{name} import run; "
            f"Path({str(path)!r}).write_text(json.dumps(asdict(run({quick}))))"
        )
        subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 (this Python, no shell)
        return Section(**json.loads(path.read_text()))


@click.command()
@click.option("--quick", is_flag=True, help="Fewer repeats and shorter clips.")
@click.option("--only", help="Renew these sections of the page: " + ", ".join(NAMES) + ".")
@click.option("--output", type=click.Path(path_type=Path), default="benchmarks/RESULTS.md")
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              default="results/benchmarks.json")  # fmt: skip
def main(quick: bool, only: str | None, output: Path, json_path: Path) -> None:
    """Run every benchmark and write one page of Markdown and one file of numbers."""
    names = [name.strip() for name in only.split(",")] if only else list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise click.UsageError(f"--only: got {unknown[0]!r}, expected some of {', '.join(NAMES)}")
    facts = machine()  # before the load is ours
    sections = {}
    for name in names:
        started = time.perf_counter()
        sections[name] = run_alone(name, quick)
        click.echo(sections[name].markdown())
        click.echo(f"({name}: {time.perf_counter() - started:.0f} s)\n", err=True)
    parts = {section.title: section.markdown() for section in sections.values()}
    if only and output.exists():
        parts = earlier_parts(output) | parts
    text = page(list(parts.values()), facts, quick)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    write_json(json_path, sections)
    click.echo(f"Written: {output}, {json_path}", err=True)


if __name__ == "__main__":
    run_command(main)
