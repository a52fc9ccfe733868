"""Load a model as a module: compiled once, then found in the user's cache folder.

    "adr1d.npde", target numba  →  <module 'pdec_adr1d_0123abcd'>

What was compiled is found again by the text, the options and the compiler's own files,
without the compiler being imported.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from pdec.keeping import keep, module_from, recall, remember
from pdec.reading.spelling import canonical
from pdec.source import Source, read


def load(
    path: str | os.PathLike[str],
    *,
    target: str = "numpy",
    overrides: Mapping[str, float] | None = None,
    accurate: bool = False,
    arrays: bool = False,
) -> ModuleType:
    """Compile a model and return the module, registered under its name and content.

    Its text, and what the target compiles when it runs, are kept in the user's cache
    folder (``PDEC_CACHE_DIR``): the same model is not compiled again.

    Raises ``ModelErrors`` with every mistake of the model, ``UsageError`` for a file, a
    target or an override that is not there and a package that the target lacks.
    """
    source = read(path)
    overrides = {canonical(name): value for name, value in (overrides or {}).items()}
    key = _key(source, [target, sorted(overrides.items()), accurate, arrays])
    found = recall(key)
    if found:
        try:
            return module_from(*found)
        except ImportError:  # the target's package is gone: the compiler says how
            pass
    from pdec.pipeline import compile_source, named, require

    compilation = compile_source(
        source,
        target=target,
        overrides=overrides,
        accurate=accurate,
        arrays=arrays,
    )
    require(target)
    name = named(compilation)
    file = keep(name, compilation.text)
    if file:
        remember(key, name)
    return module_from(name, compilation.text, file)


def _key(source: Source, options: list[object]) -> str:
    """Return a digest of all that a module's text depends on."""
    parts = (source.name, source.text, options, _compiler())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


@functools.cache
def _compiler() -> tuple[object, ...]:
    """Return what tells one compiler from another: its files, and what it stands on."""
    here = Path(__file__).parent
    files = [*here.rglob("*.py"), *here.rglob("*.pyi"), *here.parent.glob("grammars/*")]
    written = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]
    return (written, *(version(name) for name in ("sympy", "lark", "numpy")))
