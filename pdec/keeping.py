"""Modules made of text, and their files in the user's cache folder.

    pdec_adr1d_0123abcd, text  →  ~/.cache/pdec/pdec_adr1d_0123abcd.py

A target that compiles when it runs keeps its code beside the module's file, so that a
module which was never written to a file would be compiled in every process again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import linecache
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType


def module_from(name: str, text: str, file: Path | None = None) -> ModuleType:
    """Run the compiler's own text as a module, once in a process.

    Tracebacks show its lines, whether it has a file or not.
    """
    if name in sys.modules:
        return sys.modules[name]
    origin = str(file) if file else f"<{name}>"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=origin)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    lines = text.splitlines(keepends=True)
    linecache.cache[origin] = (len(text), None, lines, origin)
    sys.modules[name] = module
    try:
        exec(compile(text, origin, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def digest(text: str) -> str:
    """Return what tells modules of one name apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def keep(name: str, text: str) -> Path | None:
    """Return the file that holds a module's text, None where none can be written."""
    path = _folder() / f"{name}.py"
    with contextlib.suppress(OSError):
        if _read(path) != text:
            _write(path, text)
        return path
    return None


def remember(key: str, name: str) -> None:
    """Note which module a key stands for."""
    with contextlib.suppress(OSError):
        _write(_folder() / f"{key}.txt", name)


def recall(key: str) -> tuple[str, str, Path] | None:
    """Return the name, text and file of the module that a key stands for."""
    name = _read(_folder() / f"{key}.txt")
    file = _folder() / f"{name}.py"
    text = _read(file)
    if name.endswith(f"_{digest(text)}"):  # whole, and as it was written
        return name, text, file
    return None


def _read(path: Path) -> str:
    """Return a file's text, nothing where there is none."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text("utf-8")
    return ""


def _write(path: Path, text: str) -> None:
    """Write a file whole: no reader sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with open(handle, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
    os.replace(draft, path)


def _folder() -> Path:
    """Return the folder for what can be made again: PDEC_CACHE_DIR, or the system's."""
    given = os.environ.get("PDEC_CACHE_DIR")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pdec"
