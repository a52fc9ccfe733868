"""Keep the text of a module in the user's cache folder, for what it compiles to stay.

    pdec_adr1d_0123abcd, text  →  ~/.cache/pdec/pdec_adr1d_0123abcd.py

A target that compiles when it runs keeps its code beside the module's file, so that a
module which was never written to a file would be compiled in every process again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path


def keep(name: str, text: str) -> Path | None:
    """Return the file that holds a module's text, None where none can be written."""
    path = _folder() / f"{name}.py"
    with contextlib.suppress(OSError):
        if path.is_file() and path.read_text("utf-8") == text:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with open(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.replace(draft, path)
        return path
    return None


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
