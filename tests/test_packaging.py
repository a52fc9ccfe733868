"""The wheel: what is in it, and that it works where there is no repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import pdec

MODEL = """\
model decay
grid x[16] on [0, 1) periodic
field z(x)
param W0 init 0.5, W2 >= 0 init 1e-4
dz/dt = -(z - tanh(W0 z + W2 ∂²z))
steps 4
ω = 0.5
target y(x)
loss = mean((z - y)²)/2
"""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def call(*command, cwd, **environment):
    """Run a command away from the repository, and show what it said if it fails."""
    names = ("PYTHONPATH", "PYTHONHOME", "PDEC_DEBUG")
    clean = {k: v for k, v in os.environ.items() if k not in names} | environment
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(project: Path, folder: Path) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir"]
    call(*PIP, "wheel", *options, "--wheel-dir", folder, project, cwd=folder)
    (wheel,) = folder.glob("pdec-*.whl")
    return wheel


def new_environment(folder: Path) -> Path:
    """Make an environment that sees this one's libraries, and return its Python.

    The path goes in by a `.pth` file; those of the other environment are not followed,
    so that an editable pdec there stays unseen.
    """
    venv.create(folder, with_pip=False)
    binaries = "Scripts" if os.name == "nt" else "bin"
    python = folder / binaries / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(call(python, "-c", where, cwd=folder).strip())
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)))
    return python


def install(python: Path, *what: object) -> None:
    """Install into an environment that has no pip of its own."""
    options = ["--no-deps", "--no-build-isolation", "--ignore-installed"]
    options += ["--no-index", "--no-warn-script-location"]
    call(*PIP, "--python", python, "install", *options, *what, cwd=python.parent)


@pytest.fixture(scope="module")
def wheel(repository, tmp_path_factory):
    return build_wheel(repository, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    python = new_environment(tmp_path_factory.mktemp("installed") / "venv")
    install(python, wheel)
    return python


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sources(repository: Path) -> set[str]:
    """What of the checkout a wheel must hold, by its name there."""
    ours = {
        file.relative_to(repository).as_posix()
        for file in (repository / "pdec").rglob("*")
        if file.suffix in {".py", ".pyi", ".typed"}
    }
    grammars = (repository / "grammars").glob("*.lark")
    return ours | {f"pdec/grammars/{file.name}" for file in grammars}


def test_wheel_holds_all_that_is_read_at_run_time(wheel, repository):
    names = names_in(wheel)
    assert "pdec/grammars/npde.lark" in names
    assert any(name.startswith("pdec/runtime/") for name in names)
    assert sources(repository) - names == set()
    strange = {
        name for name in names if name.split("/")[0] not in {"pdec", info(wheel)}
    }
    assert strange == set()


def info(wheel: Path) -> str:
    return "-".join(wheel.name.split("-")[:2]) + ".dist-info"


def test_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{info(wheel)}/METADATA").decode()
        entry_points = archive.read(f"{info(wheel)}/entry_points.txt").decode()
        names = archive.namelist()
    assert f"\nVersion: {pdec.__version__}\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "pdec = pdec.cli:main" in entry_points
    lines = metadata.splitlines()
    required = {
        line.split()[1].partition(">")[0]
        for line in lines
        if line.startswith("Requires-Dist") and "extra ==" not in line
    }
    assert required == {"click", "lark", "numpy", "rich", "scipy", "sympy"}


def test_installed_wheel_compiles(python, tmp_path):
    assert call(python.with_name("pdec"), "--version", cwd=tmp_path) == (
        f"pdec {pdec.__version__}\n"
    )
    where = call(python, "-c", "import pdec; print(pdec.__file__)", cwd=tmp_path)
    assert python.parent.parent in Path(where).parents
    (tmp_path / "decay.npde").write_text(MODEL, encoding="utf-8")
    call(python.with_name("pdec"), "compile", "decay.npde", cwd=tmp_path)
    run = "import sys, decay; decay.selfcheck(); print('pdec' in sys.modules)"
    assert call(python, "-c", run, cwd=tmp_path).splitlines()[-1] == "False"


@pytest.mark.slow
def test_editable_install_compiles(repository, tmp_path):
    python = new_environment(tmp_path / "venv")
    install(python, "--editable", repository)
    code = "import json, pdec, sys; print(json.dumps([pdec.__file__, sys.path]))"
    where, path = json.loads(call(python, "-c", code, cwd=tmp_path))
    assert Path(where) == repository / "pdec" / "__init__.py"
    # Nothing is copied: an edit of the grammar counts at once.
    own = [Path(entry) for entry in path if str(tmp_path) in entry]
    assert not any((entry / "pdec").exists() for entry in own)
    (tmp_path / "decay.npde").write_text(MODEL, encoding="utf-8")
    call(python.with_name("pdec"), "compile", "decay.npde", cwd=tmp_path)


@pytest.mark.slow
def test_source_distribution_builds_the_same_wheel(wheel, repository, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path]
    call(*build, cwd=repository)
    (archive,) = tmp_path.glob("pdec-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    (project,) = (tmp_path / "unpacked").iterdir()
    for name in ("LICENSE", "README.md", "Makefile", "grammars/npde.lark", "tests"):
        assert (project / name).exists(), name
    (tmp_path / "again").mkdir()
    assert names_in(build_wheel(project, tmp_path / "again")) == names_in(wheel)


def test_every_tool_that_make_calls_is_in_an_extra(repository):
    import tomllib

    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    extra = project["project"]["optional-dependencies"]["test"]
    names = {requirement.partition(">")[0] for requirement in extra}
    assert {"hatchling", "hypothesis", "jax", "mypy", "pytest", "ruff"} <= names
