"""What the generated part of a module for Numba provides to its driver.

All of it is compiled and works on one sample. v, v_bar, v_dot are tuples of arrays in
the order of _V, _V_BAR, _V_DOT; the fields come first and have levels: v[k][here] is a
field before a step and v[k][there] after it, v_bar[k][n % 2] and v_bar[k][(n + 1) % 2]
are their cotangents, n being the number of steps before. c, c_bar, c_dot are tuples in
the order of _C, _C_BAR, _C_DOT. Every array has margins around its cells, zero beyond
ghost cells; in a cotangent the ghost cells are zero too once they are folded, or, along
a periodic axis that is read around, set anew before each reading.
"""

from typing import Any

_V: dict[str, tuple[int, ...]]
_V_BAR: dict[str, tuple[int, ...]]
_V_DOT: dict[str, tuple[int, ...]]
_C: dict[str, tuple[int, ...]]
_C_BAR: dict[str, tuple[int, ...]]
_C_DOT: dict[str, tuple[int, ...]]
_C_PLACES: dict[str, tuple[slice, ...]]  # where _SHARED lies within the margins
_C_AROUND: dict[str, tuple[tuple[int, int, int], ...]]  # axis, first cell, last one
_C_SUMMED: tuple[str, ...]  # of _C_BAR: those that are added to sums
_TOGETHER: int  # samples that may take steps together: len(c[-1]) do
_ROWS: tuple[int, int]  # the rows that a team shares out; (0, 0) if it cannot
_ROW: int  # then their cells lie side by side, those of the second from here on

# as in generated.pyi, for one sample
def _step(n: int, here: int, there: int, c: Any, v: Any) -> None: ...
def _step_vjp(
    n: int, here: int, there: int, c: Any, v: Any, c_bar: Any, v_bar: Any
) -> None: ...
def _step_jvp(
    n: int, here: int, there: int, c: Any, v: Any, c_dot: Any, v_dot: Any
) -> None: ...
def _initial(n: int, here: int, there: int, row: int, c: Any, v: Any) -> None: ...
def _initial_vjp(
    n: int, here: int, there: int, row: int, c: Any, v: Any, c_bar: Any, v_bar: Any
) -> None: ...
def _initial_jvp(
    n: int, here: int, there: int, c: Any, v: Any, c_dot: Any, v_dot: Any
) -> None: ...
def _readout(n: int, here: int, there: int, c: Any, v: Any) -> None: ...
def _loss(n: int, here: int, there: int, c: Any, v: Any) -> float: ...

# sets v_bar[k][n % 2]; returns the loss
def _loss_vjp(
    n: int, here: int, there: int, row: int, c: Any, v: Any, c_bar: Any, v_bar: Any
) -> float: ...

# sample s of arrays with a batch axis, to and from those of one sample
def _take_state(s: int, here: int, row: int, z: Any, v: Any) -> None: ...
def _give_state(s: int, here: int, row: int, v: Any, z: Any) -> None: ...
def _take_inputs(s: int, row: int, x: Any, v: Any) -> None: ...
def _take_tangents(s: int, x: Any, v_dot: Any) -> None: ...
def _take_targets(s: int, number: int, y: Any, v: Any) -> None: ...
def _give_readouts(s: int, v: Any, out: Any) -> None: ...

# takes out or adds (sums in float64), and clears the cotangents of inputs; c_bar
def _give_cotangents(s: int, row: int, v_bar: Any, z_bar: Any, x_bar: Any) -> None: ...
def _add_up(c_bar: Any, sums: Any) -> None: ...

# both levels = 0; with targets along the way: level n % 2 += the other one
def _clear_levels(row: int, v_bar: Any) -> None: ...
def _join_levels(n: int, row: int, v_bar: Any) -> None: ...

# feature implicit: the residual of unknowns of an equation, by its number, and the
# product of its Jacobian with tangents of unknowns; in vectors
def _evaluate(
    equation: int, n: int, here: int, there: int, c: Any, v: Any, u: Any, r: Any
) -> None: ...
def _multiply(
    equation: int,
    n: int,
    here: int,
    there: int,
    c: Any,
    v: Any,
    v_dot: Any,
    u_dot: Any,
    r_dot: Any,
) -> None: ...
