"""The command line: exit statuses, files left behind, what goes to which stream.

Most tests put a stand-in behind the commands, so that they test the commands; those
under "the real compiler" go all the way.
"""

from __future__ import annotations

import io
import os
import re
import signal
import stat
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import pdec
from pdec import cli
from pdec.commands import files, terminal
from pdec.errors import Diagnostic, ModelErrors, UsageError
from pdec.pipeline import require
from pdec.source import Span

MODEL = """\
model adr1d
grid x[32] on [0, 1) periodic
field z(x)
param W0 init 0.5, W1 init 0, W2 >= 0 init 5e-5
param b(x) init 0
const γ = 1
f(s) = tanh(s)
dz/dt = -γ(z - f(W0 z + W1 ∂z + W2 ∂²z - b))
steps 4
ω = 0.5
target y(x)
loss = mean((z - y)²)/2
"""
CODE = f"{files.HEADER} 0.0\nω = 0.5\n"
SUMMARY = "state (batch, 32), 4 parameters (35 numbers), ω = 0.5 stable up to 1.61"


class Verdict:
    """What ``module.stability`` returns, as far as the command looks at it."""

    def __init__(self, numerical):
        self.numerical = numerical

    def __str__(self):
        return f"numerical: {self.numerical}\nω at most 1.61"


class Pipeline(types.ModuleType):
    """A stand-in for ``pdec.pipeline`` that notes its calls."""

    def __init__(self):
        super().__init__("pdec.pipeline")
        self.calls = []
        self.warnings = ()
        self.error = None
        self.numerical = "stable"

    def compile_source(
        self,
        source,
        *,
        target="numpy",
        overrides=None,
        accurate=False,
        arrays=False,
        progress=None,
    ):
        self.accurate = accurate
        self.calls.append((source.name, target, overrides))
        if progress:
            progress("adjoint")
        if self.error:
            raise self.error
        name = types.SimpleNamespace(name="adr1d", notes=())
        return types.SimpleNamespace(
            model=name,
            derivation=source,
            warnings=self.warnings,
            text=CODE,
            summary=SUMMARY,
        )

    def derive(self, source, *, overrides=None, progress=None):
        self.calls.append((source.name, overrides))
        return source

    def module_of(self, compilation):
        return types.SimpleNamespace(
            MODEL=types.SimpleNamespace(fields={}, steps=1),
            init_params=lambda seed: {},
            stability=lambda p: Verdict(self.numerical),
        )


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("PDEC_DEBUG", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def pipeline(monkeypatch):
    fake = Pipeline()
    explain = types.ModuleType("pdec.commands.explain")
    explain.explain = lambda derived, *, latex=False: f"{derived.name} latex={latex}\n"
    memory = types.ModuleType("pdec.commands.memory")
    table = types.SimpleNamespace(text=lambda: "a table")
    memory.memory_of = lambda module, batch: table
    found = [(pdec, fake), (pdec.commands, explain), (pdec.commands, memory)]
    for package, module in found:
        name = module.__name__
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(package, name.rpartition(".")[2], module, raising=False)
    return fake


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "adr1d.npde"
    path.write_text(MODEL, encoding="utf-8")
    return path


def processor_time():
    """Seconds of processor that finished children took: a busy machine adds none."""
    times = os.times()
    return times.children_user + times.children_system


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def run_process(*arguments, **options):
    options = {"capture_output": True, "text": True, "encoding": "utf-8"} | options
    command = [sys.executable, "-m", "pdec", *map(str, arguments)]
    return subprocess.run(command, timeout=60, **options)


# --- help -------------------------------------------------------------------------


def test_help_teaches(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    for word in ("compile", "check", "show", "completion", "(verify)", "NO_COLOR"):
        assert word in out
    for status in (0, 1, 2, 3, 70, 130):
        assert re.search(rf"(?m)^ +{status} ", out)


@pytest.mark.parametrize("command", ["compile", "check", "show", "completion"])
def test_help_of_commands(command, capsys):
    assert run(command, "-h") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: pdec {command}")
    assert max(map(len, out.splitlines())) <= 88


def test_help_is_quick_and_imports_no_compiler():
    code = (
        "import sys; from pdec.cli import main; assert main(['--help']) == 0;"
        "print(sorted({'sympy', 'lark', 'numpy', 'rich'} & set(sys.modules)))"
    )
    times = []
    for _ in range(3):
        start = processor_time()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        times.append(processor_time() - start)
        assert done.stdout.splitlines()[-1] == b"[]"
    # 0.1 s on an idle machine; sympy alone would take three times this bound.
    assert min(times) < 0.3


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"pdec {pdec.__version__}\n"


def test_module_is_the_command():
    done = run_process("--version")
    assert (done.returncode, done.stdout) == (0, f"pdec {pdec.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["compil"], ["compile"], ["show", "--what", "m"]]
)
def test_wrong_usage(arguments, capsys):
    assert run(*arguments) == 2
    assert "Usage: pdec" in capsys.readouterr().err


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_completion(shell, capsys):
    assert run("completion", shell) == 0
    out = capsys.readouterr().out
    assert f"pdec completion {shell} >" in out.splitlines()[1]
    assert "_PDEC_COMPLETE" in out


def test_completion_takes_the_shell_of_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run("completion") == 0
    assert "config.fish" not in (out := capsys.readouterr().out) and "for fish" in out
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert run("completion") == 2
    assert "bash, zsh, fish" in capsys.readouterr().err


# --- compile ----------------------------------------------------------------------


def test_compile_writes_beside_the_model(pipeline, model, capsys):
    assert run("compile", model) == 0
    path = model.with_suffix(".py")
    assert path.read_text("utf-8") == CODE
    assert capsys.readouterr().out == f"wrote {path} (2 lines): {SUMMARY}\n"
    assert sorted(model.parent.iterdir()) == [model, path]


def test_compile_to_a_file_and_to_a_folder(pipeline, model, tmp_path):
    assert run("compile", model, "-o", tmp_path / "other.py") == 0
    (tmp_path / "build").mkdir()
    assert run("compile", model, "-o", f"{tmp_path}/build/") == 0
    assert (tmp_path / "other.py").exists()
    assert (tmp_path / "build" / "adr1d.py").exists()


def test_compile_to_stdout(pipeline, model, capsysbinary):
    assert run("compile", model, "-o", "-") == 0
    assert capsysbinary.readouterr().out == CODE.encode()
    assert list(model.parent.iterdir()) == [model]


def test_settings_are_numbers(pipeline, model):
    options = ["--set", "x=256", "--set", "γ = 0.5", "--set", "steps=-1"]
    assert run("compile", model, "-o", os.devnull, *options) == 0
    ((_, target, overrides),) = pipeline.calls
    assert target == "numpy"
    assert overrides == {"x": 256, "γ": 0.5, "steps": -1}
    assert [type(value) for value in overrides.values()] == [int, float, int]


@pytest.mark.parametrize("setting", ["x", "=3", "x=", "x=big", "x=nan", "x=1e999"])
def test_wrong_settings(setting, pipeline, model, capsys):
    assert run("compile", model, "--set", setting) == 2
    assert "--set" in capsys.readouterr().err
    assert not pipeline.calls


def test_setting_given_twice(pipeline, model, capsys):
    assert run("compile", model, "--set", "x=1", "--set", "x=2") == 2
    assert "'x' is given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("my-model", "my_model"),
        ("2d", "model_2d"),
        ("class", "model_class"),
        ("numpy", "model_numpy"),
        ("a.b", "a_b"),
        ("Ωave", "Ωave"),
    ],
)
def test_the_module_can_be_imported(stem, name, pipeline, tmp_path):
    (tmp_path / f"{stem}.npde").write_text(MODEL, encoding="utf-8")
    assert run("compile", tmp_path / f"{stem}.npde") == 0
    assert (tmp_path / f"{name}.py").exists()


def test_compile_replaces_its_own_output_only(pipeline, model, capsys):
    path = model.with_suffix(".py")
    path.write_text("my_work = 1\n")
    assert run("compile", model) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "my_work = 1\n"
    assert run("compile", model, "--force") == 0
    assert run("compile", model) == 0
    assert path.read_text("utf-8") == CODE


def test_compile_never_replaces_the_model(pipeline, model, capsys):
    assert run("compile", model, "-o", model, "--force") == 2
    assert "is the model itself" in capsys.readouterr().err
    assert model.read_text("utf-8") == MODEL


@pytest.mark.parametrize("output", ["missing/out.py", "missing/", "adr1d.npde/out.py"])
def test_compile_without_the_folder(output, pipeline, model, capsys):
    assert run("compile", model, "-o", f"{model.parent}/{output}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no folder") and error.count("\n") == 1


def test_missing_model(pipeline, tmp_path, capsys):
    for command in ("compile", "check", "show"):
        assert run(command, tmp_path / "none.npde") == 2
        assert capsys.readouterr().err.startswith("error: there is no file")
    assert list(tmp_path.iterdir()) == []


def test_disk_full_is_no_mistake_of_the_user(pipeline, model, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert run("compile", model) == 1
    assert capsys.readouterr().err == "error: No space left on device\n"
    assert list(model.parent.iterdir()) == [model]


# --- check and show ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("numerical", "status"),
    [("stable", 0), ("marginal", 0), ("unknown", 0), ("unstable", 3)],
)
def test_check_reports_stability(numerical, status, pipeline, model, capsys):
    pipeline.numerical = numerical
    assert run("check", model) == status
    out = capsys.readouterr().out
    assert SUMMARY in out and f"  numerical: {numerical}" in out


def test_check_goes_on_after_a_wrong_model(pipeline, model, capsys):
    assert run("check", model.with_name("none.npde"), model) == 2
    out, err = capsys.readouterr()
    assert SUMMARY in out and "none.npde" in err


def test_check_without_a_model(capsys):
    assert run("check") == 2


def test_show(pipeline, model, capsys):
    assert run("show", model) == 0
    assert capsys.readouterr().out == "adr1d.npde latex=False\n\na table\n"
    assert run("show", model, "--latex", "--set", "x=8") == 0
    assert capsys.readouterr().out == "adr1d.npde latex=True\n"
    assert pipeline.calls[-1] == ("adr1d.npde", {"x": 8})
    assert run("show", model, "--code") == 0
    assert capsys.readouterr().out == CODE
    assert run("show", model, "--code", "--latex") == 2


# --- errors -----------------------------------------------------------------------


def model_errors(source):
    found = Diagnostic("unknown name 'W9'", Span(0, 5), "did you mean W0?")
    return ModelErrors(source, (found,))


def test_errors_of_the_model(pipeline, model, capsys):
    from pdec.source import read

    pipeline.error = model_errors(read(model))
    assert run("compile", model) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"{model}:1:1: error: unknown name 'W9'",
        "    model adr1d",
        "    ^^^^^",
        "hint: did you mean W0?",
    ]
    assert list(model.parent.iterdir()) == [model]


def test_warnings_go_to_stderr(pipeline, model, capsys):
    pipeline.warnings = (Diagnostic("vanishes", Span(0, 5), severity="warning"),)
    assert run("compile", model, "-o", "-") == 0
    out, err = capsys.readouterr()
    assert out == CODE
    assert err.startswith(f"{model}:1:1: warning: vanishes")


def test_usage_error(pipeline, model, capsys):
    pipeline.error = UsageError("no axis 'q' to set")
    assert run("compile", model) == 2
    assert capsys.readouterr().err == "error: no axis 'q' to set\n"


def test_a_bug_is_called_a_bug(pipeline, model, capsys, monkeypatch):
    pipeline.error = ZeroDivisionError("division by zero\nand more")
    assert run("compile", model) == 70
    err = capsys.readouterr().err
    assert "bug in pdec" in err and "PDEC_DEBUG=1" in err
    assert "ZeroDivisionError: division by zero)" in err and "Traceback" not in err
    monkeypatch.setenv("PDEC_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("compile", model)


def test_interrupt(pipeline, model):
    pipeline.error = KeyboardInterrupt()
    assert run("compile", model) == 130
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_leaves_is_no_error():
    code = "import sys; from pdec.cli import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writer,
        stderr=subprocess.PIPE,
        restore_signals=False,
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode in (cli.BROKEN_PIPE, 128 + signal.SIGPIPE, 1)


def test_a_reader_that_leaves_a_command(pipeline, model, monkeypatch):
    def leave(*arguments, **options):
        raise BrokenPipeError

    monkeypatch.setattr(cli.click, "echo", leave)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert run("show", model) == 141


# --- the terminal -----------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_colours_on_a_terminal_only(pipeline, model, monkeypatch):
    pipeline.error = UsageError("no axis [red] 'q'")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert run("compile", model) == 2
    assert "\x1b[" in (text := sys.stderr.getvalue())
    assert "error:" in text and "no axis [red] 'q'" in text
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert run("compile", model) == 2
    assert sys.stderr.getvalue() == "error: no axis [red] 'q'\n"


def test_code_is_coloured_on_a_terminal(pipeline, model, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert run("show", model, "--code") == 0
    coloured = sys.stdout.getvalue()
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.rstrip().splitlines()] == CODE.splitlines()


def test_spinner_appears_when_it_takes_long(monkeypatch):
    monkeypatch.setattr(terminal, "SPINNER_DELAY", 0.01)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with terminal.spinner("compiling m.npde") as progress:
        progress("adjoint [1/2]")
        time.sleep(0.3)
    assert "compiling m.npde: adjoint [1/2]" in sys.stderr.getvalue()
    monkeypatch.setattr(terminal, "SPINNER_DELAY", 10)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with terminal.spinner("compiling m.npde") as progress:
        progress("adjoint")
    assert "compiling" not in sys.stderr.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_streams_that_cannot_encode(encoding, model):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = run_process("compile", "--help", env=environment, encoding=None, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    wrong = model.with_name("κ.npde")
    done = run_process("check", wrong, env=environment, encoding=None, text=False)
    assert done.returncode == 2
    assert b"there is no file" in done.stderr and b"bug" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_closed_stdout():
    command = f'"{sys.executable}" -m pdec --version >&-'
    assert subprocess.run(command, shell=True, stderr=subprocess.PIPE).stderr == b""


# --- files ------------------------------------------------------------------------


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.py"
    path.write_text(CODE, encoding="utf-8")

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError):
        files.write_generated(path, CODE + "x = 1\n")
    assert path.read_text("utf-8") == CODE
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_are_those_of_a_new_file(tmp_path):
    mask = os.umask(0o027)
    try:
        files.write_generated(tmp_path / "m.py", CODE)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "m.py").stat().st_mode) == 0o640
    (tmp_path / "m.py").chmod(0o604)
    files.write_generated(tmp_path / "m.py", CODE)
    assert stat.S_IMODE((tmp_path / "m.py").stat().st_mode) == 0o604


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "m.py"
    link.symlink_to(tmp_path / "real" / "m.py")
    files.write_generated(link, CODE)
    assert link.is_symlink()
    assert (tmp_path / "real" / "m.py").read_text("utf-8") == CODE


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere"
)
def test_no_permission(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="no permission"):
        files.write_generated(tmp_path / "shut" / "m.py", CODE)


def test_no_permission_as_anybody(tmp_path, monkeypatch):
    (tmp_path / "m.py").write_text(CODE, encoding="utf-8")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="no permission to write"):
        files.write_generated(tmp_path / "m.py", CODE)


def test_what_may_be_replaced(tmp_path):
    path = tmp_path / "m.py"
    for ours in ("", CODE, f"#!/usr/bin/env python3\n{CODE}"):
        path.write_text(ours, encoding="utf-8")
        files.write_generated(path, CODE)
    for theirs in ("\n", "x = 1\n", f'"""Text.\n\n\n{files.HEADER}"""\n', "\x00\x01"):
        path.write_text(theirs)
        with pytest.raises(UsageError, match="was not generated by pdec"):
            files.write_generated(path, CODE)
    with pytest.raises(UsageError, match="folder"):
        files.write_generated(tmp_path, CODE)
    with pytest.raises(UsageError, match="too long"):
        files.write_generated(tmp_path / ("m" * 300), CODE)


# --- the real compiler ------------------------------------------------------------


def test_compile_and_run(model):
    done = run_process("compile", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(
        r"wrote .*adr1d\.py \(\d+ lines\): state z \(batch, 32\)", done.stdout
    )
    text = model.with_suffix(".py").read_text("utf-8")
    assert text.startswith(files.HEADER)
    check = [sys.executable, "-I", model.with_suffix(".py")]
    done = subprocess.run(check, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_compile_is_deterministic(model):
    texts = set()
    for seed in ("0", "1", "12345"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = run_process("compile", model, "-o", "-", env=environment)
        assert done.returncode == 0, done.stderr
        texts.add(done.stdout)
    assert len(texts) == 1


def test_check_and_show(model):
    done = run_process("check", model)
    assert done.returncode == 0, done.stderr
    unstable = model.with_name("unstable.npde")
    unstable.write_text(MODEL.replace("5e-5", "0.5"), encoding="utf-8")
    done = run_process("check", unstable)
    assert done.returncode == 3, done.stdout + done.stderr
    for option in ([], ["--latex"], ["--code"]):
        done = run_process("show", model, *option)
        assert done.returncode == 0 and len(done.stdout) > 200, done.stderr


def test_set_changes_the_grid(model):
    done = run_process("compile", model, "--set", "x=64", "--set", "steps=2")
    assert done.returncode == 0 and "state z (batch, 64)" in done.stdout


@pytest.mark.parametrize(
    "line",
    ["param W0 = 0.5", "dz/dt = -(z - q", "grid x[8] on [0, 1) periodic", "∂∂ ²", "$"],
)
def test_a_wrong_model_leaves_nothing(line, model):
    model.write_text(f"{MODEL}{line}\n", encoding="utf-8")
    done = run_process("compile", model)
    assert done.returncode == 2, done.stderr
    assert re.search(r"adr1d\.npde:\d+:\d+: error: ", done.stderr)
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert list(model.parent.iterdir()) == [model]


def test_compile_is_quick(model):
    """The promise is 1.5 s from a cold start: processor time, as machines are busy."""
    start = processor_time()
    assert run_process("compile", model, "-o", Path(os.devnull)).returncode == 0
    assert processor_time() - start < 2


@pytest.mark.parametrize("setting", ["x=0", "x=1.5", "x=-4", "steps=0", "steps=1.5"])
def test_lengths_set_from_outside_are_whole_numbers(setting, tmp_path, capsys):
    output = tmp_path / "out.py"
    example = Path(__file__).parent.parent / "examples" / "adr1d.npde"
    assert run("compile", example, "--set", setting, "-o", output) == 2
    assert "a length is a whole number" in capsys.readouterr().err
    assert not output.exists()


def test_names_of_settings_have_both_spellings(tmp_path):
    output = tmp_path / "out.py"
    example = Path(__file__).parent.parent / "examples" / "adr1d.npde"
    assert run("compile", example, "--set", "γ=2", "-o", output) == 0
    assert "gamma = 2.0" in output.read_text("utf-8")


def test_an_absent_package_is_named_with_a_command_for_any_shell(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'pdec\[numba\]'$"):
        require("numba")
