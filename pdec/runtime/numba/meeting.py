"""For large samples, compiled: where the threads meet that have rows of one each."""

from __future__ import annotations

import os
from typing import Any

import numba
from llvmlite import ir

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


# --- states on the way back ----------------------------------------------------------

# They left the second cache since they were kept. The processor sees that they are read
# in a row, but not beyond a page of memory, which has a few rows: it is told.


@numba.extending.intrinsic
def _ask(typing: Any, array: Any, place: Any) -> Any:
    """Have an element brought into the cache while other work goes on."""

    def write(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        address = builder.bitcast(builder.gep(data, given[1:]), pointer)
        reading, soon, numbers = number(0), number(3), number(1)
        builder.call(prefetch, [address, reading, soon, numbers])
        return context.get_dummy_value()

    return numba.void(array, numba.int64), write


@_compiled
def _ask_for(array: Any, row: Any) -> None:
    """Have a row of an array brought into the cache, line by line."""
    width = array.shape[1]
    for place in range(row * width, (row + 1) * width, 64 // array.itemsize):
        _ask(array, place)


# [end]
