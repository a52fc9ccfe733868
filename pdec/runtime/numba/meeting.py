"""Where the threads meet that have rows of a sample each: compiled, without a lock."""

from __future__ import annotations

import os
from typing import Any

import numba

from pdec.runtime.numba.tools import _compiled

# [feature: rows]
# --- where threads meet --------------------------------------------------------------

# Each member counts itself in, and waits until all have: for the m-th time, until the
# count of all is m times the members. Who waits long lets others run.


@numba.extending.intrinsic
def _count_in(typing: Any, counter: Any, more: Any) -> Any:
    """Add to counter[0] in one go, and return what it was."""

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, given[0])
        return builder.atomic_rmw("add", array.data, given[1], "seq_cst")

    return numba.int64(counter, numba.int64), write


if os.name == "posix":
    _let_others_run: Any = numba.types.ExternalFunction("sched_yield", numba.int32())
else:

    @_compiled
    def _let_others_run() -> None:
        """Go on: there is no such function."""


@_compiled
def _meet(member: Any, counter: Any) -> None:
    """Wait for the others; member is (members, how many were in all that it met)."""
    if member[0] == 1:
        return
    member[1] += member[0]
    _count_in(counter, 1)
    waited = 0
    while _count_in(counter, 0) < member[1]:
        waited += 1
        if waited > 2000:
            waited = 0
            _let_others_run()


# [end]
