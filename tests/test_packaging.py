"""What is installed, by which road, and what `import vaerecon` costs."""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import vaerecon as vr
from vaerecon.lab.reports.shipped import shipped_files

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vaerecon"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
# torch pins these itself, for its CUDA build alone, so the lock leaves them out
CUDA = re.compile(r"(nvidia|cuda)-|triton$")


def read_lock() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    code = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [Requirement(line) for line in code if line]


def pins_here() -> dict[str, Version]:
    """Name -> version that the lock installs on this machine."""
    return {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in read_lock()
        if pin.marker is None or pin.marker.evaluate()
    }


def declared() -> list[Requirement]:
    """Everything that pyproject.toml asks for: the package, all extras, the build."""
    groups = [PROJECT["project"]["dependencies"], PROJECT["build-system"]["requires"]]
    return [Requirement(line) for group in (*groups, *EXTRAS.values()) for line in group]


# --- the lock -------------------------------------------------------------------------------------


def test_the_lock_holds_exact_pins_that_suit_every_machine():
    pins = read_lock()
    assert len(pins) > 100  # the closure, not the 30 direct dependencies alone
    for pin in pins:
        assert pin.url is None, pin
        # no wildcard, no +cpu: a local version exists on one index only
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin
        assert not CUDA.match(pin.name), pin
    assert "torch==2.13.0" in [str(pin) for pin in pins]


def test_the_lock_pins_each_name_once():
    names = [canonicalize_name(pin.name) for pin in read_lock()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("wanted", declared(), ids=str)
def test_every_declared_dependency_is_pinned_within_its_range(wanted):
    pins = {canonicalize_name(pin.name): pin for pin in read_lock()}
    pin = pins[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(str(pin.specifier).removeprefix("=="))
    assert str(pin.marker) == str(wanted.marker)  # left out on the same systems


def test_the_lock_is_complete_and_consistent():
    """Walk what the installed packages say they need: all of it is pinned, within range."""
    pins = pins_here()
    todo = [(requirement, "pyproject.toml") for requirement in declared()]
    seen = set()
    while todo:
        wanted, by = todo.pop()
        name = canonicalize_name(wanted.name)
        if CUDA.match(name) or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        assert name in pins, f"{wanted}, needed by {by}, is not pinned: run `make lock`"
        assert wanted.specifier.contains(pins[name]), f"{by} needs {wanted}, pinned {pins[name]}"
        for extra in ("", *wanted.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needs = metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # pesq where there is no C compiler
                continue
            for need in map(Requirement, needs):
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    todo.append((Requirement(str(need).split(";")[0]), name))
    assert len(seen) > 100


def test_the_analysis_names_every_library_that_makes_a_number():
    from vaerecon.utils.versions import LIBRARIES

    no_numbers = {"huggingface-hub", "safetensors", "pandas", "pyarrow", "matplotlib", "seaborn",
                  "click", "rich", "tqdm", "threadpoolctl", "imageio-ffmpeg",
                  "lazy-loader", "pyyaml"}  # fmt: skip
    needed = {canonicalize_name(Requirement(d).name) for d in PROJECT["project"]["dependencies"]}
    assert set(LIBRARIES) == needed - no_numbers | {"vaerecon"}


# --- the two roads to an environment --------------------------------------------------------------


def test_conda_installs_the_lock_and_the_package_with_all_extras():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *packages, pip = environment["dependencies"]
    assert {"pip", "c-compiler", "cxx-compiler"} <= set(packages)  # PESQ is C sources
    lock, package = pip["pip"]
    assert lock == "-r requirements.lock"
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", package)
    assert extras
    assert set(extras[1].split(",")) == set(EXTRAS)


def test_conda_gets_the_cpu_torch_by_one_line():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    index = "- --extra-index-url https://download.pytorch.org/whl/cpu\n"
    assert f"# {index}" in text
    *_, pip = yaml.safe_load(text.replace(f"# {index}", index))["dependencies"]
    assert pip["pip"][:2] == [index[2:-1], "-r requirements.lock"]
    assert index[2:-1].split()[1] in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_nothing_says_to_install_vaerecon_from_an_index_that_has_none():
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.py")]
    for path in texts:
        found = re.search(r"pip install +'?vaerecon\b", path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"


def test_python_versions_agree():
    required = SpecifierSet(PROJECT["project"]["requires-python"])
    (lowest,) = (item.version for item in required)

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (conda,) = (p for p in environment["dependencies"] if str(p).startswith("python="))
    assert required.contains(conda.removeprefix("python=") + ".0")

    low, high = re.search(
        r"\((\d+, \d+)\) <= sys.version_info\[:2\] <= \((\d+, \d+)\)",
        (ROOT / "Makefile").read_text(encoding="utf-8"),
    ).groups()
    assert low.replace(", ", ".") == lowest

    prefix = "Programming Language :: Python :: "
    listed = [c for c in PROJECT["project"]["classifiers"] if c.startswith(prefix)]
    assert listed[0] == prefix + lowest
    assert listed[-1] == prefix + high.replace(", ", ".")
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that the Makefile's set-up reads, in an empty folder."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # an outer `make test` exports its own flags and variables to us
    mine = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    mine.pop("ARGS", None)
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=mine, capture_output=True, text=True, check=False
    )


@pytest.mark.needs("make")
@pytest.mark.parametrize("target", ["demo", "test", "browser-test", "lab", "site", "lint"])
@pytest.mark.process
def test_make_installs_the_lock_first_and_then_never_again(checkout, target):
    fresh = make(checkout, "--dry-run", target).stdout
    assert "cp requirements.lock .venv/requirements.lock" in fresh
    assert re.search(r"pip install +-r \.venv/requirements\.lock\n", fresh)
    assert "extra-index-url" not in fresh

    (checkout / ".venv").mkdir()
    for seconds, name in enumerate(["requirements.lock", ".installed"]):
        (checkout / ".venv" / name).touch()
        os.utime(checkout / ".venv" / name, (2000 + seconds, 2000 + seconds))
    for changed in (None, "requirements.lock", "pyproject.toml"):
        for name in ("requirements.lock", "pyproject.toml"):
            time = 3000 if name == changed else 1000
            os.utime(checkout / name, (time, time))
        planned = make(checkout, "--dry-run", target).stdout
        assert ("pip install" in planned) == (changed is not None)


@pytest.mark.needs("make")
@pytest.mark.process
def test_make_passes_on_the_index_for_torch(checkout):
    run = make(checkout, "--dry-run", "demo", "TORCH_INDEX=https://example.org/cpu")
    assert "pip install --extra-index-url https://example.org/cpu -r" in run.stdout


@pytest.mark.needs("make")
@pytest.mark.process
def test_make_refuses_a_python_that_does_not_fit(checkout):
    run = make(checkout, "demo", "PYTHON=false")  # a program that fails, like an old Python's check
    assert run.returncode != 0
    assert "needs Python 3.11 to 3.14" in run.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.needs("make")
@pytest.mark.process
def test_make_leaves_out_what_it_cannot_compile(checkout, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    python = checkout / "python"  # to install pip in the new environment would take seconds
    python.write_text(f'#!/bin/sh\n[ "$2" = venv ] && set -- "$@" --without-pip\n'
                      f'exec "{sys.executable}" "$@"\n')  # fmt: skip
    python.chmod(0o755)
    run = make(checkout, ".venv/requirements.lock", f"PYTHON={python}")
    assert run.returncode == 0, run.stderr
    assert "leaving out PESQ and ViSQOL" in run.stderr
    full, left = (
        set((checkout / name).read_text(encoding="utf-8").splitlines())
        for name in ("requirements.lock", ".venv/requirements.lock")
    )
    gone = {line.split("==")[0] for line in full - left}
    assert gone == {"pesq", "visqol-python", "libsvm-official"}


# --- what need not be there -----------------------------------------------------------------------


@pytest.mark.parametrize(("required", "status"), [("", 0), ("1", 1)])
@pytest.mark.process
def test_what_is_not_installed_skips_by_name_or_fails(tmp_path, required, status):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef broken(): raise AssertionError\n"
        "@pytest.mark.needs('pytest', 'no-such-program', 'no_such_package')\n"
        "def test_with(broken): raise AssertionError\n"
        "@pytest.mark.needs('pytest')\ndef test_without(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-W", "ignore", "-rs", tmp_path]
    paths = {"PYTHONPATH": str(ROOT / "tests"), "VAERECON_REQUIRE_ALL": required}
    run = subprocess.run(
        command, cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True, check=False
    )
    assert run.returncode == status, run.stdout
    assert "needs no-such-program, no_such_package" in run.stdout
    line = "1 skipped for what is not installed: no-such-program 1, no_such_package 1"
    assert (line in run.stdout.splitlines()[-2]) == (not required)


# --- the package ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that the checkout gets no build folder."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("vaerecon", "notebooks", "tests/baselines"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"]
    offline = ["--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(source / "out")]
    subprocess.run([*pip, *offline, "."], cwd=source, check=True)
    (path,) = (source / "out").iterdir()
    return zipfile.ZipFile(path)


@pytest.mark.process
def test_the_wheel_holds_every_file_of_the_package(wheel):
    here = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.startswith("vaerecon/bundled/") for name in here)
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    shared = f"vaerecon-{vr.__version__}.data/data/share/vaerecon/notebooks"
    assert there == here | {f"{shared}/{name}" for name in shipped_files()}
    assert "baselines/00_overview.json" in shipped_files()


@pytest.mark.process
@pytest.mark.slow
def test_check_and_lab_work_from_the_wheel_alone(wheel, tmp_path):
    """In an environment with the libraries of this one, but not its editable vaerecon."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "env"], cwd=tmp_path, check=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = [*pip, "install", "--no-deps", "--no-index", "--quiet", wheel.filename]
    subprocess.run(install, cwd=tmp_path, check=True)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "env" / "share" / "jupyter").mkdir(parents=True)
    templates = Path("share", "jupyter", "nbconvert")
    (tmp_path / "env" / templates).symlink_to(Path(sys.prefix) / templates)
    work = tmp_path / "work"
    work.mkdir()

    def vaerecon(*args: str, cwd: Path = work) -> subprocess.CompletedProcess:
        command = [str(python), "-m", "vaerecon", *args]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    # made short, so that it runs in a second: the numbers of its baseline, and whose package it is
    shared = tmp_path / "env" / "share" / "vaerecon" / "notebooks"
    written = json.loads((shared / "baselines" / "00_overview.json").read_text())
    code = "import vaerecon, sys\nassert vaerecon.__file__.startswith(sys.prefix)\n"
    code += "from vaerecon.lab.reports.recording import record\n"
    for name, metric in written["metrics"].items():
        code += f"record({name!r}, {metric['value']}, {metric['unit']!r})\n"
    short = nbformat.read(shared / "00_overview.ipynb", as_version=4)
    short.cells = [cell for cell in short.cells if "parameters" in cell.metadata.get("tags", [])]
    short.cells.append(nbformat.v4.new_code_cell(code))
    nbformat.write(short, shared / "00_overview.ipynb")

    checked = vaerecon("check", "00_overview")
    assert checked.returncode == 0, checked.stderr
    assert "All as in the baselines." in checked.stdout
    refused = vaerecon("check", "--update")
    assert refused.returncode == 2
    assert "vaerecon lab --copy-only" in refused.stderr
    assert vaerecon("lab", "--copy-only").returncode == 0
    copy = work / "vaerecon-notebooks"
    names = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    assert names == set(shipped_files())
    name, metric = next(iter(written["metrics"].items()))
    metric["value"] += 1000.0
    (copy / "baselines" / "00_overview.json").write_text(json.dumps(written))
    moved = vaerecon("check", "00_overview", "--notebooks-dir", "vaerecon-notebooks")
    assert moved.returncode == 1  # by the baselines of the copy
    assert name in moved.stdout


@pytest.mark.process
def test_the_wheel_says_what_it_is(wheel):
    info = f"vaerecon-{vr.__version__}.dist-info"
    text = wheel.read(f"{info}/METADATA").decode()
    assert f"\nVersion: {vr.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text
    assert "\nRequires-Python: >=3.11\n" in text
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert "vaerecon = vaerecon.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_installed_version_is_the_package_s():
    assert metadata.version("vaerecon") == vr.__version__


def imported(path: Path) -> set[str]:
    """Top-level names of all that a file imports, wherever in it, this package left out."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - {"vaerecon", "__future__"} - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("vaerecon", ["cluster", "datasets", "live"]),
        ("vaerecon/lab", ["notebooks"]),
        ("vaerecon/training", ["train"]),
        ("tests", ["cluster", "datasets", "metrics", "notebooks", "train", "test"]),
    ],
)
def test_what_is_imported_is_declared(folder, extras):
    lines = PROJECT["project"]["dependencies"] + [line for e in extras for line in EXTRAS[e]]
    allowed = {canonicalize_name(Requirement(line).name) for line in lines}
    # import name -> the packages that bring it; ViSQOL may be absent where nothing can be compiled
    offers = {"visqol": ["visqol-python"], **metadata.packages_distributions()}
    own = [ROOT / "vaerecon/lab", ROOT / "vaerecon/training"] if folder == "vaerecon" else []
    files = [p for p in (ROOT / folder).rglob("*.py") if not set(own) & set(p.parents)]
    local = {path.stem for path in files} | {"benchmarks", "tools", "helpers"}
    for path in files:
        for name in imported(path) - local:
            brings = {canonicalize_name(package) for package in offers.get(name, [name])}
            assert brings & allowed, f"{path.relative_to(ROOT)} imports {name}: not declared"


# --- importing it ---------------------------------------------------------------------------------


def run_python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.process
def test_importing_vaerecon_loads_no_other_module():
    slow = "{'torch', 'numpy', 'librosa', 'diffusers', 'transformers', 'pandas', 'matplotlib'}"
    look = f"print(sorted({slow} & set(sys.modules)), dir(vr) > [], vr.__version__)"
    assert run_python(f"import sys, vaerecon as vr; {look}") == f"[] True {vr.__version__}"


@pytest.mark.process
def test_reading_audio_loads_no_torch():
    assert run_python(
        "import sys, vaerecon as vr; vr.load_audio; print('torch' in sys.modules)"
    ) == ("False")


@pytest.mark.parametrize("name", vr.__all__)
def test_a_public_name_is_there_and_is_listed(name):
    value = getattr(vr, name)
    assert name in dir(vr)
    if name in vr._SUBMODULES:
        assert value is sys.modules[f"vaerecon.{name}"]
    else:
        assert value is getattr(sys.modules[f"vaerecon.{vr._MODULE_OF[name]}"], name)


def test_all_lists_what_is_public():
    assert sorted(vr.__all__) == sorted([*vr._MODULE_OF, *vr._SUBMODULES])
    stubs = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (checking,) = (node for node in stubs.body if isinstance(node, ast.If))
    typed = {alias.name for node in checking.body for alias in node.names}
    assert typed == set(vr.__all__)  # editors and type checkers see the same names


def test_no_module_can_take_a_public_name_s_place():
    """Importing vaerecon.compare would set vr.compare to that module, over a function."""
    modules = {module.name for module in pkgutil.iter_modules(vr.__path__)}
    assert not modules & set(vr._MODULE_OF)


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'log_mle'"):
        _ = vr.log_mle
    assert not hasattr(vr, "log_mle")


@pytest.mark.process
def test_python_m_vaerecon_is_the_command_line():
    run = [sys.executable, "-m", "vaerecon", "--help"]
    shown = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "reconstruct" in shown
    assert "demo" in shown
