"""What the project takes from others, and what its own code must never do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = sorted([*(ROOT / "vaerecon").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])

FORBIDDEN = {  # dotted name of a call -> why
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "makes code of text",
    "__import__": "loads by a name that may come from outside",
    "pickle.load": "runs code when opened",
    "pickle.loads": "runs code when opened",
    "pickle.Unpickler": "runs code when opened",
    "marshal.loads": "crashes on other people's bytes",
    "shelve.open": "is a pickle",
    "dill.load": "is a pickle",
    "cloudpickle.load": "is a pickle",
    "cloudpickle.loads": "is a pickle",
    "joblib.load": "is a pickle",
    "pandas.read_pickle": "is a pickle",
    "pd.read_pickle": "is a pickle",
    "yaml.load": "makes any object; yaml.safe_load does not",
    "yaml.unsafe_load": "makes any object",
    "yaml.full_load": "makes too many objects",
    "os.system": "is a shell",
    "os.popen": "is a shell",
    "subprocess.getoutput": "is a shell",
    "subprocess.getstatusoutput": "is a shell",
    "tempfile.mktemp": "names a file that another may make first",
    "extractall": "writes where the archive says",
}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a call's function; ``""`` for another expression."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before or '?'}.{node.attr}"  # "?" is any expression: Model().eval is no eval
    return node.id if isinstance(node, ast.Name) else ""


def dangers(text: str) -> list[str]:
    """Calls in a source that must not be there."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        last = name.rpartition(".")[2]
        if name in FORBIDDEN or (last in FORBIDDEN and last == "extractall"):
            found.append(f"line {node.lineno}: {name}: {FORBIDDEN.get(name) or FORBIDDEN[last]}")
        shell = options.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            found.append(f"line {node.lineno}: {name}: a shell")
        safe = options.get("weights_only")
        if name == "torch.load" and not (isinstance(safe, ast.Constant) and safe.value is True):
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        for option in ("allow_pickle", "trust_remote_code"):
            value = options.get(option)
            if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
                found.append(f"line {node.lineno}: {name}: {option}")
    return found


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "exec(text)",
        "pickle.load(file)",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "subprocess.run(f'ls {name}', shell=True)",
        "subprocess.Popen(command, shell=flag)",
        "os.system('ls ' + name)",
        "yaml.load(text, Loader)",
        "archive.extractall(folder)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_search_finds(line):
    assert len(dangers(line)) == 1


def test_the_search_lets_pass():
    text = "model.eval()\ntorch.load(p, weights_only=True)\nyaml.safe_load(t)\nre.compile(p)\n"
    assert dangers(text + "subprocess.run([a, b])\nast.literal_eval(t)\nframe.eval('a')") == []


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_pickle_no_eval_no_shell(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


def test_every_exception_to_a_security_rule_says_why():
    """``# noqa: S603 (reason)``: a reason of at least two words, here or in the tests."""
    silent, count = [], 0
    for path in [*PRODUCT, *sorted((ROOT / "tests").rglob("*.py"))]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found := re.search(r"# noqa: [A-Z0-9, ]*\bS\d+\b(.*)", line):
                count += 1
                if not re.search(r"\w+\W+\w+|\(ours\)", found[1]):
                    silent.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert count >= 3, "the search finds none: is the comment's form another?"
    assert silent == []


def test_no_rule_is_switched_off_for_a_whole_file_or_for_all():
    for path in PRODUCT:
        text = path.read_text(encoding="utf-8")
        assert "ruff: noqa" not in text, path
        assert not re.search(r"# noqa\s*$", text, re.MULTILINE), path


def test_ruff_s_security_rules_are_on_for_the_product():
    import tomllib

    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert "S" in ruff["lint"]["select"]
    assert not [rule for rule in ruff["lint"]["ignore"] if re.fullmatch(r"S\d*", rule)]
    for pattern, rules in ruff["lint"].get("per-file-ignores", {}).items():
        if [rule for rule in rules if re.fullmatch(r"S\d*", rule)]:
            assert pattern == "tests/**"


def test_the_lock_says_why_it_has_no_hashes_and_names_no_other_source():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert "Without hashes:" in head
    assert "one hash" in head.replace("\n# ", " ")
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            assert re.match(r"[A-Za-z0-9._-]+==[^\s*]+( ; .*)?(\s+#.*)?$", line), line
            assert "://" not in line
            assert " @ " not in line
