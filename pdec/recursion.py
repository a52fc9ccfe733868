"""Recursion: room for models that nest deeply, and an error for those that nest deeper.

Input: a source and a stage that recurses over what it says.  Output: the stage's own,
or ``ModelErrors``.  The parser bounds the depth of a statement (``lines.MAX_NESTING``),
but definitions that use each other add up:

    Z1 = (((… Z2 …)))    Z2 = (((… Z3 …)))    …
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from pdec.errors import Diagnostic, ModelErrors
from pdec.source import Source, Span

# Frames of Python code take no room on the stack of C, so this is no danger.
LIMIT = 8000


@contextlib.contextmanager
def deep_recursion(source: Source) -> Iterator[None]:
    """Let the compiler recurse further than Python does; end in an error, no crash."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, LIMIT))
    try:
        yield
    except RecursionError:
        message = "the definitions of this model are nested too deep"
        hint = "put a definition before those that use it, and break up long ones"
        found = Diagnostic(message, Span(0, 1), hint)
        raise ModelErrors(source, (found,)) from None
    finally:
        sys.setrecursionlimit(before)
