"""What the generated part of a module provides to the files of this folder.

This is the contract between the compiler and the runtime, for type checkers and for
readers: nothing imports it when a module runs.

c holds the arrays shared by all samples: the parameters and, after _coefficients, what
is combined from them. v holds the arrays of one tile of samples, batch axis first: each
state field with its ghost cells and <field>_next, the inputs with their ghost cells,
the targets, and work arrays (readouts and "loss" among them). *_bar are cotangents,
*_dot tangents, under the same names; c_bar is in float64, all else in the dtype of the
run. v[field] and v[field_next] are distinct arrays; ghost cells hold anything finite
until _step (or _loss, or _initial) fills them.
"""

from typing import Any, Protocol

from pdec.runtime.types import Array, Arrays, Model

MODEL: Model

_STATE: dict[str, tuple[int, ...]]  # field -> padded shape
_CELLS: dict[str, tuple[slice, ...]]  # field -> its cells, batch axis included
_INPUTS: dict[str, tuple[int, ...]]  # input -> padded shape
_INPUT_CELLS: dict[str, tuple[slice, ...]]  # input -> its cells, batch axis included
_WORK: dict[str, tuple[int, ...]]  # work array -> shape
_LINES: dict[str, tuple[str, slice]]  # line -> array of a tile, where in it; see _step
_REPEATED: dict[str, tuple[str, tuple[int, ...]]]  # coefficient -> array, shape beside
_SNAPSHOTS: range  # feature loss: after these steps it is taken; it is their mean
_TARGET_CELLS: dict[str, tuple[slice, ...]]  # likewise: of targets with ghost cells
_SHARED: dict[str, tuple[int, ...]]  # every array that receives cotangents in c_bar
_WALLS: dict[str, tuple[str, ...]]  # feature at_risk: coefficient -> condition, params

# feature implicit: what a step solves for, by the name that the step calls it; the rest
# as in _Equation (implicit.py)
_IMPLICIT: dict[str, dict[str, Any]]

def _coefficients(c: Arrays) -> None: ...  # adds what is combined to c
def _coefficients_vjp(c: Arrays, c_bar: Arrays) -> None: ...  # adds to parameters
def _coefficients_jvp(c: Arrays, c_dot: Arrays) -> None: ...  # adds combined to c_dot

# v[field] -> v[field_next]; c and v hold the lines that it reads too
def _step(n: int, c: Arrays, v: Arrays) -> None: ...

# sets v_bar[field] from v_bar[field_next]; adds to c_bar and v_bar[input]; v holds the
# fields before the step, with their ghost cells as _step left them, and field_next
def _step_vjp(n: int, c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None: ...

# sets both v[field_next] and v_dot[field_next]
def _step_jvp(n: int, c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None: ...

# feature initial: sets v[field]; the adjoint reads v_bar[field]
def _initial(c: Arrays, v: Arrays) -> None: ...
def _initial_vjp(c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None: ...
def _initial_jvp(c: Arrays, v: Arrays, c_dot: Arrays, v_dot: Arrays) -> None: ...

# feature readout: sets v[readout]
def _readout(c: Arrays, v: Arrays) -> None: ...

# feature loss: _loss sets v["loss"], after _readout where there is one; the adjoint is
# of both: it sets v_bar[field] from v_bar["loss"], and adds to c_bar and v_bar[input];
# neither writes to v[field_next], which may be a state that the way back needs
def _loss(c: Arrays, v: Arrays) -> None: ...
def _loss_vjp(c: Arrays, v: Arrays, c_bar: Arrays, v_bar: Arrays) -> None: ...

# feature penalty: the terms of the loss in parameters alone
def _penalty(c: Arrays) -> float: ...
def _penalty_vjp(c: Arrays, c_bar: Arrays) -> None: ...  # adds

# what the verdict on ω reads
_AXES: tuple[tuple[int, float, bool], ...]  # cells, spacing, periodic of each axis
_ORDERS: tuple[int, ...]  # the highest even order of a derivative along each axis
_FOURTH: bool  # whether a stencil of ∂² has a fourth moment, at the order of accuracy 2
_QUANTITY: str  # what the length of a step is called: ω or Δt
_CONTRACTIVITY: float  # of the scheme, in steps of Euler

def _clock(c: Arrays) -> tuple[Any, Any]: ...  # ω and γ, or Δt and 1
def _amplification(rate: Any, h: Any) -> Any: ...  # feature matrix: G of matrices J

# feature matrix: the J of dz/dt = J z, of which the scheme may treat parts differently,
# one above the other (L over N), or which stands above the rates of decay
def _whole(J: Array) -> Array: ...
def _decays(c: Arrays) -> list[Any]: ...

# feature not matrix: coefficients above and below the bar of G in powers of h rate
def _polynomials(h: float) -> tuple[tuple[float, ...], tuple[float, ...]]: ...

# feature effective: the step of forward Euler that does the same, and its inverse
def _effective(h: Any) -> Any: ...
def _length(w: Any) -> Any: ...

# feature layer
_SLOPES: tuple[float, float]  # closure of the range of f'
_LARGEST: float  # the largest |f|
_MOMENTS: dict[str, float]  # feature moments: 1/Δx^k of W_k, by parameter

def _stencil(c: Arrays) -> dict[tuple[int, ...], Any]: ...  # offsets -> a_m of Z
def _slopes_at(n: int, c: Arrays, v: Arrays) -> Any: ...  # f'(Z) at v[field]

# feature walls, of a layer: by axis, for the low and the high wall, of each ghost from
# the wall outwards, (cell from the wall inwards, weight)
def _walls() -> dict[int, tuple[Any, Any]]: ...

# feature jacobian
_JUDGED: range  # the steps at which the rates are linearised
_EVERYWHERE: bool  # whether that holds at every state and in every step
_REACH: tuple[int, ...]  # how far a rate reads along each axis
_UNIFORM: bool  # whether all cells are alike where the state is
_RATES: tuple[str, ...]  # the rates, in the order of the fields

# sets v_dot[rate], the tangent of the rates along the fields alone
def _rates_jvp(n: int, c: Arrays, v: Arrays, v_dot: Arrays) -> None: ...

class _Stability(Protocol):
    @property
    def numerical(self) -> str: ...  # "stable" | "marginal" | "unstable" | "unknown"
    @property
    def basis(self) -> str: ...  # "exact" | "certificate" | "heuristic" | …
    @property
    def omega_max(self) -> float | None: ...
    @property
    def intrinsic(self) -> str: ...  # "none" | "growth" | "unknown"
    @property
    def growth(self) -> float: ...

def stability(p: Arrays, omega: Any = None) -> _Stability: ...

# whether to ask for the verdict before a run; and that verdict
def _suspect(p: Arrays, run: Any) -> bool: ...
def _judge_run(p: Arrays, run: Any) -> _Stability: ...
