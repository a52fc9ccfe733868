"""The models of the tests a second time, in JAX: an independent check of the compiler.

Every right-hand side here was written from the equation in its ``.npde`` file and from
the rules of the grid (cell centres, ghosts by a polynomial that meets the condition at
the wall, fluxes on faces), never from a generated module.  Finite differences come from
textbook tables, and ghost cells from a numerical interpolation, while the compiler
derives both symbolically.  Derivatives are JAX's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from reference_walls import Condition as Met
from reference_walls import Side, padded

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_disable_most_optimizations", True)  # it compiles sooner

Arrays = dict[str, Any]

# Fornberg (1988), tables 1 and 2: central weights by (derivative, accuracy).
CENTRAL: dict[tuple[int, int], list[float]] = {
    (0, 2): [1],
    (0, 4): [1],
    (0, 6): [1],
    (1, 2): [-1 / 2, 0, 1 / 2],
    (1, 4): [1 / 12, -2 / 3, 0, 2 / 3, -1 / 12],
    (1, 6): [-1 / 60, 3 / 20, -3 / 4, 0, 3 / 4, -3 / 20, 1 / 60],
    (2, 2): [1, -2, 1],
    (2, 4): [-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12],
    (2, 6): [1 / 90, -3 / 20, 3 / 2, -49 / 18, 3 / 2, -3 / 20, 1 / 90],
    (3, 2): [-1 / 2, 1, 0, -1, 1 / 2],
    (3, 6): [
        *(-7 / 240, 3 / 10, -169 / 120, 61 / 30, 0),
        *(-61 / 30, 169 / 120, -3 / 10, 7 / 240),
    ],
    (4, 2): [1, -4, 6, -4, 1],
    (4, 6): [
        *(7 / 240, -2 / 5, 169 / 60, -122 / 15, 91 / 8),
        *(-122 / 15, 169 / 60, -2 / 5, 7 / 240),
    ],
}

# --- grids and walls ------------------------------------------------------------------


@dataclass(frozen=True)
class Wall:
    """a u + b ∂u = g at a wall, ∂ along the axis; all zero: no condition at all."""

    a: float = 0.0
    b: float = 0.0
    g: float = 0.0


NEUMANN = (Wall(0, 1, 0), Wall(0, 1, 0))
FREE = (Wall(), Wall())
Walls = Mapping[str, tuple[Wall, Wall]]


@dataclass(frozen=True)
class Axis:
    """N cells on [low, high]: nodes a + iΔx if periodic, otherwise cell centres."""

    size: int
    low: float
    high: float
    periodic: bool = False

    @property
    def spacing(self) -> float:
        return (self.high - self.low) / self.size

    def points(self, extra: int = 0) -> Any:
        """Coordinates of the cells, and of some more on both sides."""
        first = 0.0 if self.periodic else 0.5
        cells = np.arange(-extra, self.size + extra)
        return jnp.asarray(self.low + (cells + first) * self.spacing)


def _extension(
    axis: Axis, walls: tuple[Wall, Wall], accuracy: int, width: int
) -> tuple[Any, Any]:
    """Ghosts and cells of an axis as matrix · cells + known values."""
    cells = np.eye(axis.size)
    known = np.zeros(axis.size + 2 * width)
    if axis.periodic:
        return np.concatenate([cells[-width:], cells, cells[:width]]), known
    left, known[:width] = _beyond(walls[0], axis, 1.0, accuracy, width)
    right, known[-width:] = _beyond(walls[1], axis, -1.0, accuracy, width)
    ends = np.zeros((2, width, axis.size))
    ends[0, :, :accuracy], ends[1, :, -accuracy:] = left[::-1], right[:, ::-1]
    known[:width] = known[:width][::-1]
    return np.concatenate([ends[0], cells, ends[1]]), known


def _beyond(
    wall: Wall, axis: Axis, inward: float, accuracy: int, width: int
) -> tuple[Any, Any]:
    """Weights of the first cells within for ghosts, from the wall outwards, and a rest.

    Ghosts continue the polynomial through those cells that meets the condition.
    """
    conditioned = bool(wall.a or wall.b)
    powers = np.arange(accuracy + conditioned)
    rows = list((np.arange(accuracy) + 0.5)[:, None] ** powers)
    if conditioned:
        slope = np.where(powers == 1, wall.b * inward / axis.spacing, 0.0)
        rows.append(np.where(powers == 0, wall.a, slope))
    outside = (-0.5 - np.arange(width))[:, None] ** powers
    weights = outside @ np.linalg.inv(np.array(rows))
    return weights[:, :accuracy], weights[:, accuracy:].sum(1) * wall.g


@dataclass(frozen=True)
class Grid:
    """Axes in the order of declaration, and the accuracy of the stencils.

    Arrays end in one axis of cells for each of the grid's axes.
    """

    axes: Mapping[str, Axis]
    accuracy: int = 2

    @property
    def volume(self) -> float:
        return float(np.prod([axis.spacing for axis in self.axes.values()]))

    def padded(self, u: Any, walls: Walls | None = None, width: int = 4) -> Any:
        """u with ghost cells along every axis, filled in the order of the axes."""
        for name, axis in self.axes.items():
            extension, known = _extension(
                axis, (walls or {}).get(name, FREE), self.accuracy, width
            )
            u = self._along(name, extension, u)
            u = u + known.reshape(-1, *[1] * (-self._place(name) - 1))
        return u

    def _place(self, name: str) -> int:
        return list(self.axes).index(name) - len(self.axes)

    def _along(self, name: str, matrix: Any, u: Any) -> Any:
        """A matrix that acts on the cells along one axis."""
        place = self._place(name)
        return jnp.moveaxis(jnp.tensordot(u, matrix, (u.ndim + place, 1)), -1, place)

    def cut(self, padded: Any, width: int = 4, **offsets: int) -> Any:
        """The grid's cells of a padded array, moved by offsets."""
        index: list[Any] = [...]
        for name, axis in self.axes.items():
            start = width + offsets.get(name, 0)
            index.append(slice(start, start + axis.size))
        return padded[tuple(index)]

    def d(self, padded: Any, width: int = 4, **orders: int) -> Any:
        """A derivative of a padded array: d(u, x=1, y=1) is ∂x∂y u."""
        for name, axis in self.axes.items():
            order = orders.get(name, 0)
            weights = np.array(CENTRAL[order, self.accuracy]) / axis.spacing**order
            start = width - len(weights) // 2
            matrix = np.zeros((axis.size, axis.size + 2 * width))
            for cell in range(axis.size):
                matrix[cell, start + cell :][: len(weights)] = weights
            padded = self._along(name, matrix, padded)
        return padded

    def laplacian(self, padded: Any) -> Any:
        return sum(self.d(padded, **{name: 2}) for name in self.axes)

    def flux(self, name: str, coefficient: Callable[..., Any], u: Any, *on: Any) -> Any:
        """∂(c ∂u) along an axis: fluxes on the two faces of each cell.

        The padded arrays ``on`` are averaged onto the face, where c is evaluated.
        """

        def face(side: int) -> Any:
            here, there = {name: min(side, 0)}, {name: max(side, 0)}
            means = [(self.cut(a, **here) + self.cut(a, **there)) / 2 for a in on]
            slope = (self.cut(u, **there) - self.cut(u, **here)) / dx
            return coefficient(*means) * slope

        dx = self.axes[name].spacing
        return (face(1) - face(-1)) / dx

    def sum(self, u: Any) -> Any:
        """Σ over the cells."""
        return u.sum(axis=tuple(range(-len(self.axes), 0)))

    def integral(self, u: Any) -> Any:
        return self.volume * self.sum(u)


# --- schemes --------------------------------------------------------------------------

Rate = Callable[[Arrays, Any], Arrays]  # of a state at a time


@dataclass(frozen=True)
class Step:
    """What a scheme may use: F, its affine part L, and the fields' rates of decay."""

    F: Rate
    L: Rate
    decay: Arrays
    dt: Any


Scheme = Callable[[Step, Arrays, Any], Arrays]


def euler(s: Step, z: Arrays, t: Any) -> Arrays:
    """Forward Euler."""
    rate = s.F(z, t)
    return {name: z[name] + s.dt * rate[name] for name in z}


def heun(s: Step, z: Arrays, t: Any) -> Arrays:
    """The mean of the slopes at the start and after a step of Euler's."""
    k1 = s.F(z, t)
    k2 = s.F({name: z[name] + s.dt * k1[name] for name in z}, t + s.dt)
    return {name: z[name] + s.dt / 2 * (k1[name] + k2[name]) for name in z}


def exponential(s: Step, z: Arrays, t: Any) -> Arrays:
    """dz/dt = -c z + N: z⁺ = e^{-cΔt} z + (1 - e^{-cΔt}) N/c (Hochbruck & Ostermann
    2010, equation 1.6)."""
    rate, new = s.F(z, t), {}
    for name, c in s.decay.items():
        kept = jnp.exp(-c * s.dt)
        new[name] = kept * z[name] + (1 - kept) * (rate[name] / c + z[name])
    return new


def symplectic(*first: str) -> Scheme:
    """Velocity Verlet: the fields that are not first are kicked, the first drift
    (Hairer, Lubich & Wanner 2003, equation 1.5)."""

    def step(s: Step, z: Arrays, t: Any) -> Arrays:
        def move(z: Arrays, kick: bool, dt: Any, t: Any) -> Arrays:
            rate = s.F(z, t)
            moving = [name for name in z if (name not in first) == kick]
            return z | {name: z[name] + dt * rate[name] for name in moving}

        z = move(z, True, s.dt / 2, t)
        z = move(z, False, s.dt, t + s.dt / 2)
        return move(z, True, s.dt / 2, t + s.dt)

    return step


def implicit(s: Step, z: Arrays, t: Any) -> Arrays:
    """Backward Euler."""

    def residual(new: Arrays) -> Arrays:
        rate = s.F(new, t + s.dt)
        return {name: new[name] - z[name] - s.dt * rate[name] for name in z}

    return root(residual, z)


def trapezoidal(s: Step, z: Arrays, t: Any) -> Arrays:
    """The trapezoidal rule: half a step forwards, half a step backwards."""
    half = Step(s.F, s.L, s.decay, s.dt / 2)
    middle = euler(half, z, t)
    return implicit(half, middle, t + s.dt / 2)


def imex(s: Step, z: Arrays, t: Any) -> Arrays:
    """Forward Euler for N = F - L, then backward Euler for L."""
    F, L = s.F(z, t), s.L(z, t)
    moved = {name: z[name] + s.dt * (F[name] - L[name]) for name in z}
    return implicit(Step(s.L, s.L, s.decay, s.dt), moved, t)


def equilibrium(s: Step, z: Arrays, t: Any) -> Arrays:
    """The state at which F is 0, reached by plain relaxation."""

    def relax(k: int, z: Arrays) -> Arrays:
        rate = s.F(z, t)
        return {name: z[name] + rate[name] / s.decay[name] for name in z}

    near = jax.lax.fori_loop(0, 50, relax, jax.lax.stop_gradient(z))
    return root(lambda new: s.F(new, t), near)


def root(residual: Callable[[Arrays], Arrays], guess: Arrays) -> Arrays:
    """The root of a residual by Newton's method; JAX has the implicit function theorem.

    Linear systems are solved sample by sample with the dense Jacobian.
    """
    shapes = {name: z.shape for name, z in guess.items()}
    ends = np.cumsum([int(np.prod(shape[1:])) for shape in shapes.values()])

    def state(vector: Any) -> Arrays:
        cut = zip(shapes.items(), jnp.split(vector, ends[:-1], axis=1), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in cut}

    def vector(state: Arrays) -> Any:
        return jnp.concatenate([state[n].reshape(len(state[n]), -1) for n in shapes], 1)

    def linear(product: Callable[[Any], Any], right: Any) -> Any:
        column = lambda unit: product(jnp.broadcast_to(unit, right.shape))  # noqa: E731
        J = jnp.moveaxis(jax.vmap(column)(jnp.eye(ends[-1])), 0, -1)
        return jnp.linalg.solve(J, right[..., None])[..., 0]

    def newton(r: Callable[[Any], Any], u: Any) -> Any:
        def improve(k: int, u: Any) -> Any:
            value, product = jax.linearize(r, u)
            return u - linear(product, value)

        return jax.lax.fori_loop(0, 7, improve, u)

    r = lambda u: vector(residual(state(u)))  # noqa: E731
    start = jax.lax.stop_gradient(vector(guess))
    return state(jax.lax.custom_root(r, start, newton, linear))


# --- models ---------------------------------------------------------------------------

Right = Callable[[Arrays, Any, Arrays, Arrays], Arrays]


@dataclass(frozen=True)
class Reference:
    """A model: rate(p, n, z, inputs) → dz/dt, the clock, the loss of each sample.

    Among the inputs of a rate is the time, "t", at which the scheme asks for it.
    """

    rate: Right
    steps: int
    dt: Callable[[Arrays], Any]
    loss: Callable[[Arrays, Arrays, Arrays, Arrays], Any]
    penalty: Callable[[Arrays], Any] = field(default=lambda p: 0.0)
    initial: Callable[[Arrays, Arrays], Arrays] | None = None
    readouts: Callable[[Arrays, Arrays], Arrays] | None = None
    scheme: Scheme = euler
    linear: Right | None = None  # the affine part of the rate
    decay: Callable[[Arrays], Arrays] = field(default=lambda p: {})

    def run(self, p: Arrays, z0: Arrays | None, inputs: Arrays) -> Arrays:
        """The state after all steps of the scheme."""
        dt, c = self.dt(p), self.decay(p)
        start = self.initial(p, inputs) if self.initial else z0

        def step(z: Arrays, n: Any) -> tuple[Arrays, None]:
            def rates(of: Right) -> Rate:
                return lambda z, t: of(p, n, z, inputs | {"t": t})

            parts = Step(rates(self.rate), rates(self.linear or self.rate), c, dt)
            return self.scheme(parts, z, n * dt), None

        return jax.lax.scan(step, start, jnp.arange(self.steps))[0]

    def mean_loss(
        self, p: Arrays, z0: Arrays | None, inputs: Arrays, y: Arrays
    ) -> tuple[Any, Arrays]:
        """The mean loss over the batch, and the final state beside it."""
        z = self.run(p, z0, inputs)
        losses = self.loss(p, z, inputs, y)
        return jnp.mean(losses) + self.penalty(p), z


REFERENCES: dict[str, Callable[[], Reference]] = {}


def reference(build: Callable[[], Reference]) -> Callable[[], Reference]:
    """Register a model under the name of its file."""
    REFERENCES[build.__name__] = build
    return build


def constant(value: float) -> Callable[[Arrays], float]:
    return lambda p: value


def line(size: int, low: float, high: float, periodic: bool = False) -> Grid:
    return Grid({"x": Axis(size, low, high, periodic)})


def _mean(u: Any) -> Any:
    """The mean over everything but the batch."""
    return u.reshape(len(u), -1).mean(1)


def _sum(u: Any) -> Any:
    return u.reshape(len(u), -1).sum(1)


def _square_error(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
    """mean((z - y)²) of a model with one field and one target."""
    (state,), (target,) = z.values(), y.values()
    return _mean((state - target) ** 2)


def _sigmoid(s: Any) -> Any:
    return 1 / (1 + jnp.exp(-s))


def _cross_entropy(logits: Any, label: Any) -> Any:
    chosen = jnp.take_along_axis(logits, label[:, None], 1)[:, 0]
    return jax.scipy.special.logsumexp(logits, axis=1) - chosen


# --- the examples ---------------------------------------------------------------------


def _half(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
    """Half the mean square of what the only field is off by."""
    return _square_error(p, z, inputs, y) / 2


def _layer(cells: int) -> Right:
    """-(z - tanh(W0 z + W1 ∂z + W2 ∂²z - b)) on a ring."""
    g = line(cells, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z)
        Z = p["W0"] * z + p["W1"] * g.d(u, x=1) + p["W2"] * g.d(u, x=2) - p["b"]
        return {"z": -(z - jnp.tanh(Z))}

    return rate


@reference
def adr1d() -> Reference:
    return Reference(_layer(128), 16, constant(0.5), _half)


@reference
def heat_robin() -> Reference:
    g = line(64, 0, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        T = g.padded(state["T"], {"x": (Wall(1, 0, 1), Wall(2, 1, 0))})
        left, here, right = (g.cut(T, x=move) for move in (-1, 0, 1))
        spacing = g.axes["x"].spacing
        with_it = jnp.maximum(p["U"], 0) * (here - left) / spacing
        against = jnp.minimum(p["U"], 0) * (right - here) / spacing
        spread = g.flux("x", lambda c: c, T, g.padded(p["kappa"]))
        return {"T": spread - with_it - against + inputs["S"]}

    return Reference(rate, 5, constant(0.05), _half, scheme=implicit)


@reference
def heterogeneous() -> Reference:
    def penalty(p: Arrays) -> Any:
        return 1e-3 * jnp.mean(p["W1"] ** 2) + 1e-3 * jnp.mean((p["W0"] - 1) ** 2)

    return Reference(_layer(256), 16, constant(0.5), _half, penalty=penalty)


@reference
def digits() -> Reference:
    g = Grid({"x": Axis(28, 0, 28), "y": Axis(28, 0, 28)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"x": NEUMANN, "y": NEUMANN})
        drift = p["Wx"] * g.d(u, x=1) + p["Wy"] * g.d(u, y=1)
        Z = p["W0"] * z + drift + p["W2"] * g.laplacian(u) - p["b"]
        return {"z": -(z - jnp.tanh(Z))}

    def readouts(p: Arrays, z: Arrays) -> Arrays:
        return {"logits": jnp.einsum("kxy,bxy->bk", p["R"], z["z"]) + p["c"]}

    return Reference(
        rate,
        8,
        constant(1.0),
        lambda p, z, inputs, y: _cross_entropy(readouts(p, z)["logits"], y["label"]),
        penalty=lambda p: 1e-4 * jnp.mean(p["R"] ** 2),
        initial=lambda p, inputs: {"z": inputs["img"]},
        readouts=readouts,
    )


# --- the schemes, each at its nastiest ------------------------------------------------


def _sides(a: float, b: float, g: float) -> tuple[Wall, Wall]:
    """a u + b ∂n u = g on both sides, n outward."""
    return Wall(a, -b, g), Wall(a, b, g)


@reference
def equilibrium_image() -> Reference:
    g = Grid({"x": Axis(4, 0, 1), "y": Axis(5, 0, 1)})
    robin = _sides(2, 1, 0.1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, w, img = state["z"], state["w"], inputs["img"]
        wide_z = g.padded(z, {"x": NEUMANN, "y": _sides(1, 0, 0.3)})
        wide_w = g.padded(w, {"x": robin, "y": robin})
        seen = p["E"][:, None, None] * (img + 0.3 * w)[:, None]
        Z = jnp.einsum("ij,bjxy->bixy", p["A"], z) + seen
        Z += p["D"][:, None] * g.laplacian(wide_z)
        read = jnp.einsum("iy,bixy->bxy", p["n"], z) + 0.01 * g.d(wide_w, x=1, y=1)
        return {"z": -2 * (z - jnp.tanh(Z)), "w": -(w - jnp.sin(read))}

    def initial(p: Arrays, inputs: Arrays) -> Arrays:
        img = inputs["img"]
        return {"z": p["E"][:, None, None] * img[:, None], "w": jnp.zeros_like(img)}

    return Reference(
        rate,
        1,
        constant(0.0),
        lambda p, z, i, y: _mean((z["z"] - y["p"]) ** 2) + _mean(z["w"] ** 2),
        initial=initial,
        scheme=equilibrium,
        decay=lambda p: {"z": 2.0, "w": 1.0},
    )


@reference
def equilibrium_ring() -> Reference:
    g = line(10, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z)
        Z = p["W0"] * z + p["W1"] * g.d(u, x=1) + p["W2"] * g.d(u, x=2) - p["b"]
        return {"z": -p["gamma"] * (z - jnp.tanh(Z + inputs["s"]))}

    decay = lambda p: {"z": p["gamma"]}  # noqa: E731
    return Reference(
        rate, 1, constant(0.0), _square_error, scheme=equilibrium, decay=decay
    )


@reference
def exponential_omega() -> Reference:
    g = Grid({"x": Axis(5, 0, 1, True), "y": Axis(4, 0, 1)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"y": (Wall(1, 0, 0.2), Wall(0, 1, -0.1))})
        Z = jnp.einsum("ij,bjxy->bixy", p["W0"][n], z) + 0.002 * g.laplacian(u)
        Z += jnp.einsum("ijy,bjxy->bixy", p["W1"], g.d(u, x=1))
        bias = p["b"][:, :, None] * inputs["s"][:, None]
        return {"z": -(z - jnp.tanh(Z - bias))}

    clock = lambda p: p["omega"]  # noqa: E731
    decay = lambda p: {"z": 1.0}  # noqa: E731
    return Reference(rate, 3, clock, _square_error, scheme=exponential, decay=decay)


@reference
def exponential_rates() -> Reference:
    g = Grid({"x": Axis(9, 0, 1)}, accuracy=4)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u, v = state["u"], state["v"]
        wide_u = g.padded(u, {"x": (Wall(1, 0, 0.3), Wall(0, 1, 0.2))})
        wide_v = g.padded(v, {"x": _sides(1, 0.5, 0.1)})
        U = p["a"] * v + p["D"] * g.d(wide_u, x=2) - p["b"][n]
        V = u - 0.3 * v + 0.01 * g.d(wide_v, x=2)
        return {"u": -p["gamma"] * (u - jnp.tanh(U)), "v": -0.5 * (v - jnp.sin(V))}

    return Reference(
        rate,
        4,
        constant(0.4),
        lambda p, z, i, y: (
            _mean((z["u"] - y["p"]) ** 2) + _mean((z["v"] - y["q"]) ** 2)
        ),
        scheme=exponential,
        decay=lambda p: {"u": p["gamma"], "v": 0.5},
    )


@reference
def imex_gray_scott() -> Reference:
    g = Grid({"x": Axis(7, 0, 0.35, True), "y": Axis(5, 0, 0.25, True)})

    def linear(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u, v = state["u"], state["v"]
        du = p["Du"] * g.laplacian(g.padded(u)) + p["F"] * (1 - u)
        dv = p["Dv"] * g.laplacian(g.padded(v)) - (p["F"] + p["k"]) * v
        return {"u": du, "v": dv}

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        known = linear(p, n, state, inputs)
        reaction = state["u"] * state["v"] ** 2
        return {"u": known["u"] - reaction, "v": known["v"] + reaction}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        return _mean((z["u"] - y["p"]) ** 2) + 2 * _mean((z["v"] - y["q"]) ** 2)

    return Reference(rate, 3, constant(1.0), loss, scheme=imex, linear=linear)


@reference
def imex_walls() -> Reference:
    g = line(10, 0, 1)
    walls = {"x": (Wall(1, 0, 1), Wall(0, 1, -0.2))}

    def linear(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        T, s, t = g.padded(state["T"], walls), inputs["s"], inputs["t"]
        spread = g.flux("x", lambda c: c, T, g.padded(p["kappa"]))
        feed = p["F"][n] * jnp.cos(2 * t) + jnp.exp(-t) * s
        return {"T": spread - p["U"] * s * g.d(T, x=1) + feed}

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        T = state["T"]
        steepening = T * g.d(g.padded(T, walls), x=1)
        return {"T": linear(p, n, state, inputs)["T"] - steepening}

    return Reference(rate, 4, constant(0.2), _square_error, scheme=imex, linear=linear)


@reference
def implicit2d() -> Reference:
    g = Grid({"x": Axis(4, 0, 1, True), "y": Axis(4, 0, 1)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, w = state["z"], state["w"]
        wide_z = g.padded(z, {"y": (Wall(1, 0, 0.5), Wall(0, 1, 0.1))})
        wide_w = g.padded(w, {"y": _sides(1, 1, 0.3)})
        dz = jnp.einsum("ij,bjxy->bixy", p["M"], z) * w[:, None]
        dz += p["D"][:, None] * g.laplacian(wide_z)
        dz -= 0.1 * g.d(wide_z, x=1) / (1 + w**2)[:, None]
        eaten = w * jnp.einsum("i,bixy->bxy", p["n"], z)
        bent = 0.01 * g.d(wide_w, x=1, y=1) + 0.02 * g.laplacian(wide_w)
        return {"z": dz, "w": p["k"][n] * (1 - w) - eaten + bent}

    return Reference(
        rate,
        2,
        constant(0.4),
        lambda p, z, i, y: (
            _mean((z["z"] - y["p"]) ** 2) + _mean((z["w"] - y["q"]) ** 2)
        ),
        scheme=implicit,
    )


@reference
def implicit_burgers() -> Reference:
    g = line(11, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = state["u"]
        wide = g.padded(u)
        source = p["a"] * inputs["s"] * jnp.cos(4 * inputs["t"])
        return {"u": source - p["c"] * u * g.d(wide, x=1) + p["nu"] * g.d(wide, x=2)}

    return Reference(rate, 4, constant(0.1), _square_error, scheme=implicit)


@reference
def implicit_heat() -> Reference:
    g = line(8, 0, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        T = g.padded(state["T"], {"x": (Wall(1, 0, 1), Wall(2, 1, 0.5))})
        spread = g.flux("x", lambda c: c, T, g.padded(p["kappa"]))
        own = g.flux("x", lambda t: p["s"] * t**2, T, T)
        return {"T": spread + own - p["U"][n] * g.d(T, x=1) - state["T"] ** 3}

    return Reference(rate, 3, constant(0.2), _square_error, scheme=implicit)


@reference
def implicit_linear() -> Reference:
    g = Grid({"x": Axis(9, 0, 1)}, accuracy=4)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"x": (Wall(0, 1, 0.3), Wall(1, 0, 0.2))})
        moments = p["W1"] * g.d(u, x=1) + p["W2"] * g.d(u, x=2)
        return {"z": -(z - (p["W0"][n] * z + moments - p["b"]))}

    clock = lambda p: p["omega"]  # noqa: E731
    return Reference(rate, 4, clock, _square_error, scheme=implicit)


@reference
def implicit_tensor() -> Reference:
    g = Grid({"x": Axis(7, 0, 1)}, accuracy=4)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"x": (Wall(1, 0, 0.2), Wall(1, 0.5, 1))})
        Z = jnp.einsum("ij,bjx->bix", p["W0"][n], z) - p["b"][n]
        Z += jnp.einsum("ijx,bjx->bix", p["W1"], g.d(u, x=1))
        Z += jnp.einsum("ij,bjx->bix", p["W2"], g.d(u, x=2))
        return {"z": -(z - Z * _sigmoid(Z))}

    clock = lambda p: p["omega"]  # noqa: E731
    return Reference(rate, 2, clock, _square_error, scheme=implicit)


@reference
def symplectic_acoustics() -> Reference:
    g = Grid({"x": Axis(6, 0, 1), "y": Axis(7, 0, 1, True)}, accuracy=4)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = g.padded(state["u"], {"x": _sides(1, 0, 0)})
        v = g.padded(state["v"], {"x": NEUMANN})
        q = g.padded(state["p"], {"x": (Wall(0, 1, 0), Wall(1, 0, 0.2))})
        source = p["a"] * inputs["s"] * jnp.sin(2 * inputs["t"])
        return {
            "u": -p["c"] * g.d(q, x=1),
            "p": source - (g.d(u, x=1) + g.d(v, y=1)),
            "v": -p["c"] * g.d(q, y=1) - p["a"] * state["p"] ** 3,
        }

    return Reference(
        rate,
        3,
        constant(0.05),
        lambda p, z, i, y: _mean((z["p"] - y["q"]) ** 2) + _mean(z["u"] * z["v"]),
        scheme=symplectic("u", "v"),
    )


@reference
def symplectic_pendula() -> Reference:
    g = line(7, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u, v = state["u"], state["v"]
        pull = g.flux("x", lambda c: c, g.padded(u), g.padded(p["kappa"]))
        drive = p["b"][n] * jnp.cos(3 * inputs["t"])
        return {"u": v / p["m"], "v": pull - p["k"] * jnp.sin(u) + drive}

    return Reference(
        rate,
        4,
        constant(0.2),
        lambda p, z, i, y: (
            _mean((z["u"] - y["p"]) ** 2) + _mean((z["v"] - y["q"]) ** 2)
        ),
        scheme=symplectic("u"),
    )


@reference
def trapezoidal2d() -> Reference:
    g = Grid({"x": Axis(4, 0, 1, True), "y": Axis(5, 0, 1)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u, v = state["u"], state["v"]
        wide_u = g.padded(u, {"y": (Wall(1, 0, 1), Wall(0, 1, 0))})
        wide_v, kappa = g.padded(v, {"y": NEUMANN}), g.padded(p["kappa"])
        feed = p["F"] * (inputs["s"][:, None, :] - u)
        spread = sum(g.flux(axis, lambda c: c, wide_v, kappa) for axis in "xy")
        reaction = u * v**2
        du = p["Du"] * g.laplacian(wide_u) - reaction + feed
        return {"u": du, "v": spread + reaction - 0.2 * v}

    return Reference(
        rate,
        2,
        constant(0.5),
        lambda p, z, i, y: _mean((z["u"] - y["p"]) ** 2) + _mean(z["v"] ** 2),
        scheme=trapezoidal,
    )


@reference
def trapezoidal_ring() -> Reference:
    g = Grid({"x": Axis(12, 0, 1, True)}, accuracy=4)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z)
        moments = p["W1"] * z * g.d(u, x=1) + p["W2"] * g.d(u, x=2)
        Z = 0.7 * z + moments - p["b"][n] * jnp.sin(3 * inputs["t"])
        return {"z": -p["gamma"] * (z - jnp.tanh(Z))}

    return Reference(rate, 4, constant(0.3), _square_error, scheme=trapezoidal)


# --- tests/models, in the order of the alphabet ---------------------------------------


@reference
def accuracy4() -> Reference:
    g = Grid({"x": Axis(11, 0, 1)}, accuracy=4)
    walls = {"x": (Wall(1, 0, 0.3), Wall(0.5, 1, 0.2))}

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, walls)
        Z = p["W0"] * z + p["W1"] * g.d(u, x=1) + p["W2"] * g.d(u, x=2) - p["b"]
        return {"z": -(z - jnp.tanh(Z))}

    return Reference(rate, 4, constant(0.6), _square_error)


@reference
def accuracy6() -> Reference:
    g = Grid({"x": Axis(16, 0, 2, True)}, accuracy=6)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z)
        moments = sum(p[f"W{k}"] * g.d(u, x=k) for k in (1, 2, 3, 4))
        return {"z": -(z - jnp.arctan(0.8 * z + moments))}

    return Reference(rate, 3, constant(0.5), _square_error)


@reference
def box3d() -> Reference:
    axes = {"x": Axis(5, 0, 1, True), "y": Axis(4, 0, 1), "z": Axis(3, 0, 1)}
    g = Grid(axes)
    walls = {"y": NEUMANN, "z": (Wall(1, 0, 1), Wall(1, 0, 0))}

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = state["u"]
        w = g.padded(u, walls)
        Z = p["a"] * u + p["v"] * g.d(w, x=1) + p["D"] * g.laplacian(w)
        return {"u": -(u - jax.nn.relu(Z - p["b"][:, None]))}

    return Reference(rate, 3, constant(0.3), _square_error)


@reference
def burgers_periodic() -> Reference:
    g = line(10, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = g.padded(state["u"])
        return {"u": -p["c"] * g.d(u**2 / 2, x=1) + p["nu"] * g.d(u, x=2)}

    loss = lambda p, z, inputs, y: _sum((z["u"] - y["y"]) ** 2)  # noqa: E731
    return Reference(rate, 6, constant(0.02), loss)


@reference
def burgers_walls() -> Reference:
    g = Grid({"x": Axis(8, 0, 1), "y": Axis(6, 0, 1)})
    walls = {
        "x": (Wall(1, 0, 1), Wall(0, 1, 0)),
        "y": (Wall(2, -1, 0.5), Wall(2, 1, 0.5)),
    }

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = g.padded(state["u"], walls)
        c = line(8, 0, 1).padded(p["c"])[:, None]
        advection = g.d(c * u**2 / 2, x=1) + g.d(jnp.sin(u), y=1)
        spread = p["nu"] * g.laplacian(u) + 0.01 * g.d(u**3, x=1, y=1)
        return {"u": spread - advection}

    loss = lambda p, z, inputs, y: _sum((z["u"] - y["q"]) ** 2)  # noqa: E731
    return Reference(rate, 4, constant(0.02), loss)


@reference
def channels() -> Reference:
    g = line(6, 0, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u, v, w = state["u"], state["v"], state["w"]
        bend = p["D"] * g.d(g.padded(u, {"x": NEUMANN}), x=2)
        U = jnp.einsum("ij,bjx->bix", p["A"][n], v) + bend
        U -= w[:, None] * p["q"][:, None]
        V = jnp.einsum("ijx,bjx->bix", p["B"], u)
        V += jnp.einsum("ij,bjx->bix", p["E"], g.d(g.padded(v, {"x": NEUMANN}), x=1))
        V += 0.1 * v * ((u**2).sum(1) + (v**2).sum(1))[:, None]
        W = jnp.einsum("j,bjx->bx", p["q"], u) - 0.5 * v[:, 1]
        W += p["D"] * g.d(g.padded(w, {"x": _sides(1, 0, 0.2)}), x=2)
        return {"u": jnp.tanh(U) - u, "v": jnp.tanh(V) - v, "w": jnp.tanh(W) - w}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        square = _mean((z["u"] - y["p"]) ** 2) + _mean((z["v"] - y["r"]) ** 2)
        return square + _mean(z["w"] ** 2)

    return Reference(rate, 3, constant(0.5), loss)


@reference
def conservative2d() -> Reference:
    g = Grid({"x": Axis(6, 0, 1, True), "y": Axis(5, 0, 1)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        T = g.padded(state["T"], {"y": NEUMANN})
        kappa = g.padded(p["kappa"])
        column = Grid({"y": Axis(5, 0, 1)}).padded(p["nu"])
        nu = jnp.broadcast_to(column, kappa.shape)
        same = lambda c: c  # noqa: E731
        along_x = g.flux("x", same, T, kappa)
        along_y = g.flux("y", same, T, nu)
        own = g.flux("y", lambda t: 0.01 + p["s"] * t**2, T, T)
        return {"T": along_x + along_y + own}

    loss = lambda p, z, inputs, y: g.integral((z["T"] - y["q"]) ** 2)  # noqa: E731
    return Reference(rate, 4, constant(0.1), loss)


@reference
def conservative_walls() -> Reference:
    g = line(10, 0, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        T = g.padded(state["T"], {"x": (Wall(1, 0, 1), Wall(2, 1, 0.5))})
        spread = g.flux("x", lambda c: c, T, g.padded(p["kappa"]))
        return {"T": spread - p["U"] * g.d(T, x=1)}

    return Reference(rate, 5, constant(0.1), _square_error)


@reference
def coordinates() -> Reference:
    g = Grid({"x": Axis(9, -1, 1), "y": Axis(5, 0, 2, True)})
    x, y = g.axes["x"].points()[:, None], g.axes["y"].points()
    wide_x = g.axes["x"].points(4)[:, None]
    wide_y = g.axes["y"].points(4)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"x": (Wall(1), Wall(1))})
        grown = g.d((1 + wide_x**2) * u, x=1) / 10
        places = jnp.broadcast_to(wide_y, u.shape)
        spread = g.flux("y", lambda at: jnp.cos(jnp.pi * at), u, places)
        Z = p["a"] * z + jnp.sin(jnp.pi * x) * y + grown + p["D"] * spread
        return {"z": -(z - jnp.tanh(Z))}

    loss = lambda p, z, i, t: _mean((1 + x**2) * (z["z"] - t["q"]) ** 2)  # noqa: E731
    return Reference(rate, 4, constant(0.5), loss)


@reference
def definitions() -> Reference:
    g = line(9, 0, 1, periodic=True)

    def flux(p: Arrays, z: Any) -> Any:
        return (jax.nn.softplus(2 * (p["a"] * z + p["b"])) - 1) * z

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        q, F = p["a"] * z + p["b"], flux(p, z)
        Z = q + p["c"] * g.d(g.padded(F), x=1) + 0.001 * g.d(g.padded(z), x=2)
        return {"z": -(z - jnp.tanh(Z + 0.1 * F))}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        return _square_error(p, z, inputs, y) + _mean(flux(p, z["z"])) ** 2

    return Reference(rate, 4, constant(0.4), loss)


@reference
def forced() -> Reference:
    g = line(8, 0, 1, periodic=True)
    clock = lambda p: 0.5 / p["gamma"]  # noqa: E731

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, t = state["z"], n * clock(p)
        spread = p["D"] * jnp.exp(-t) * g.d(g.padded(z), x=2)
        push = jnp.sin(2 * jnp.pi * t) * g.axes["x"].points() + p["b"][n] * jnp.cos(t)
        return {"z": -p["gamma"] * (z - jnp.tanh(p["a"] * z + push + spread))}

    return Reference(rate, 4, clock, _square_error)


@reference
def fourth() -> Reference:
    g = Grid({"x": Axis(8, 0, 16, True), "y": Axis(7, 0, 14)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = state["u"]
        w = g.padded(u, {"y": NEUMANN})
        fourth = g.d(w, x=4) + 2 * g.d(w, x=2, y=2) + g.d(w, y=4)
        linear = p["r"] * u - (u + 2 * g.laplacian(w) + fourth)
        return {"u": linear - p["g"][:, None] * u**3}

    return Reference(rate, 4, constant(0.01), _square_error)


@reference
def gray_scott_small() -> Reference:
    g = Grid({"x": Axis(6, 0, 0.3, True), "y": Axis(5, 0, 0.25, True)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u, v = state["u"], state["v"]
        reaction = u * v**2
        du = p["Du"] * g.laplacian(g.padded(u)) - reaction + p["F"] * (1 - u)
        dv = p["Dv"] * g.laplacian(g.padded(v)) + reaction - (p["F"] + p["k"]) * v
        return {"u": du, "v": dv}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        return _mean((z["u"] - y["p"]) ** 2) + 2 * _mean((z["v"] - y["q"]) ** 2)

    return Reference(rate, 6, constant(1.0), loss)


@reference
def inputs() -> Reference:
    g = Grid({"x": Axis(7, 0, 1, True), "y": Axis(6, 0, 1)})
    row = line(7, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, u = state["z"], g.padded(inputs["u"])
        w = g.padded(z, {"y": (Wall(1, 0, 0.1), Wall(0, 1, 0.2))})
        q = inputs["q"][:, :, None]
        bend = row.d(row.padded(inputs["q"]), x=2)[:, :, None]
        drift = p["c"] * g.d(u * w, x=1) + 0.05 * g.d(u, y=1)
        given = 0.01 * bend + inputs["s"][:, None, None] * q
        Z = p["a"] * z + drift + p["D"] * g.laplacian(w) + given
        return {"z": -(z - jnp.tanh(Z))}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        slope = g.d(g.padded(inputs["u"]), x=1)
        own = _mean(slope**2) + _mean(z["z"] * inputs["u"])
        return _square_error(p, z, inputs, y) + own

    return Reference(rate, 4, constant(0.5), loss)


@reference
def kinks() -> Reference:
    g = line(13, 0, 1, periodic=True)

    def f(s: Any) -> Any:
        small = jnp.minimum(s, 0.2 * s + 0.1)
        return jax.nn.relu(s) - 0.1 * jnp.abs(s) + small + 0.1 * jnp.maximum(s, -0.3)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, b = state["z"], p["b"]
        u = g.padded(z)
        Z = p["a"] * z + p["c"] * g.d(u, x=1) + p["D"] * g.d(u, x=2) - b
        return {"z": -(z - f(Z) + jnp.where(z - b > 0, 0.2 * z**2, jnp.sin(z)))}

    return Reference(
        rate,
        5,
        constant(0.3),
        lambda p, z, inputs, y: _mean(jnp.abs(z["z"] - y["y"])),
        penalty=lambda p: 0.1 * jnp.mean(jax.nn.relu(p["b"])),
    )


@reference
def losses() -> Reference:
    g = Grid({"x": Axis(6, 0, 1, True), "y": Axis(5, 0, 1)})
    walls = {"y": NEUMANN}

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        spread = p["D"] * g.laplacian(g.padded(z, walls))
        Z = jnp.einsum("ij,bjxy->bixy", p["A"], z) + spread
        return {"z": -(z - jnp.tanh(Z) * p["g"][:, None, None])}

    def loss(p: Arrays, state: Arrays, inputs: Arrays, y: Arrays) -> Any:
        z = state["z"]
        r = g.integral(p["m"][:, None] * z)
        work = g.integral(z * g.d(g.padded(z, walls), x=1))
        bought = (_sum(p["g"] * work) - y["q"]) / 2
        return _mean((z - y["p"]) ** 2) + _sum(p["g"] * r) + bought

    def penalty(p: Arrays) -> Any:
        most = 1e-2 * jnp.sum(p["m"] ** 2) / (1 + jnp.mean(p["g"] ** 2))
        return jnp.mean(p["A"] ** 2) + most

    return Reference(rate, 3, constant(0.5), loss, penalty)


@reference
def mixed2d() -> Reference:
    g = Grid({"x": Axis(7, 0, 1), "y": Axis(9, 0, 2)})
    walls = {
        "x": (Wall(1, 0, 0.5), Wall(0, 1, 0.3)),
        "y": (Wall(0, -1, -0.1), Wall(0, 1, -0.1)),
    }

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, walls)
        bent = p["B"][:, None] * g.d(u, x=1, y=1) + p["C"] * g.d(u, x=2)
        return {"z": -(z - jnp.tanh(p["A"] * z + bent + p["w"] * g.d(u, y=1)))}

    return Reference(rate, 3, constant(0.7), _square_error)


@reference
def robin() -> Reference:
    g = line(11, -1, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        u = state["u"]
        w = g.padded(u, {"x": (Wall(2, -0.5, 0.3), Wall(1, 0.7, -0.2))})
        Z = p["a"] * u + p["c"] * g.d(w, x=1) + p["D"] * g.d(w, x=2)
        return {"u": -(u - _sigmoid(Z))}

    loss = lambda p, z, inputs, y: g.integral((z["u"] - y["y"]) ** 2)  # noqa: E731
    return Reference(rate, 5, constant(0.6), loss)


@reference
def single() -> Reference:
    g = line(9, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z)
        Z = p["W0"] * z + p["W1"] * g.d(u, x=1) + p["W2"] * g.d(u, x=2) - p["b"]
        return {"z": -(z - jnp.tanh(Z) ** 2)}

    return Reference(rate, 4, constant(0.5), _square_error)


@reference
def smooth() -> Reference:
    g = line(8, 0, 1, periodic=True)

    def gelu(s: Any) -> Any:
        return s / 2 * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (s + 0.044715 * s**3)))

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, a, b = state["z"], p["a"], p["b"]
        roots = jnp.sqrt(1 + z**2) + jnp.sqrt(2 + a * z)
        q = jnp.exp(-(z**2)) + jnp.log(2 + z**2) + roots
        waves = jnp.sin(z) * jnp.cos(b * z)
        G = jnp.sinh(0.3 * z) + jnp.cosh(0.2 * z) + jnp.arctan(z) + waves
        bumps = gelu(a * z) + b * z * _sigmoid(b * z)
        h = bumps + _sigmoid(z) - 1 / (2 + z**2) ** 1.5
        spread = p["D"] * g.d(g.padded(z), x=2)
        return {"z": -(z - jnp.tanh(0.2 * q + 0.3 * G + 0.1 * h + spread - b))}

    return Reference(
        rate,
        4,
        constant(0.5),
        lambda p, z, inputs, y: (
            _mean(gelu(z["z"] - y["y"])) + jnp.sqrt(1 + _mean(z["z"] ** 2))
        ),
        penalty=lambda p: 1e-2 * jnp.mean(jnp.exp(p["b"])),
    )


@reference
def started() -> Reference:
    g = line(9, 0, 1)

    def initial(p: Arrays, inputs: Arrays) -> Arrays:
        u, E = inputs["u"], p["E"]
        slopes = 0.1 * g.d(g.padded(u), x=1) + 0.02 * g.d(g.padded(E), x=1)
        return {"z": E * u + slopes}

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, u = state["z"], inputs["u"]
        spread = p["D"] * g.d(g.padded(z, {"x": NEUMANN}), x=2)
        slopes = 0.05 * g.d(g.padded(u), x=1) + 0.1 * u * g.d(g.padded(p["E"]), x=1)
        return {"z": -(z - jnp.tanh(p["a"] * z + spread + slopes))}

    return Reference(rate, 3, constant(0.5), _square_error, initial=initial)


@reference
def tensor_readouts() -> Reference:
    g = line(10, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z)
        terms = [z, g.d(u, x=1), g.d(u, x=2)]
        act = lambda W, v: jnp.einsum("ij,bjx->bix", W, v)  # noqa: E731
        Z = sum(act(p[f"W{k}"], v) for k, v in enumerate(terms)) - p["b"]
        return {"z": -(z - jnp.tanh(Z))}

    def readouts(p: Arrays, z: Arrays) -> Arrays:
        dx = g.axes["x"].spacing
        feature = jnp.tanh(dx * jnp.einsum("hdx,bdx->bh", p["R"], z["z"]))
        return {"feature": feature, "logits": feature @ p["S"].T + p["c"]}

    return Reference(
        rate,
        3,
        constant(0.8),
        lambda p, z, inputs, y: _cross_entropy(readouts(p, z)["logits"], y["label"]),
        penalty=lambda p: 0.01 * jnp.mean(p["R"] ** 2) + 0.1 * jnp.sum(p["S"] ** 2),
        initial=lambda p, inputs: {"z": p["E"][:, None] * inputs["img"][:, None, :]},
        readouts=readouts,
    )


@reference
def tensor_layers() -> Reference:
    g = line(6, 0, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"x": (Wall(1, 0, 0.2), Wall(3, 1, 1))})
        Z = jnp.einsum("ijx,bjx->bix", p["W0"][n], z) - p["b"][n]
        Z += jnp.einsum("ij,bjx->bix", p["W1"][n], g.d(u, x=1))
        Z += jnp.einsum("ijx,bjx->bix", p["W2"], g.d(u, x=2))
        return {"z": -(z - Z * _sigmoid(Z))}

    penalty = lambda p: jnp.sum(p["W2"] ** 2)  # noqa: E731
    return Reference(rate, 4, lambda p: p["omega"], _square_error, penalty)


@reference
def trainable_omega() -> Reference:
    g = line(8, 0, 1, periodic=True)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        Z = p["W0"] * z + p["W2"] * g.d(g.padded(z), x=2) - p["b"]
        return {"z": -(z - jnp.tanh(Z))}

    penalty = lambda p: 0.1 * p["omega"] ** 2  # noqa: E731
    return Reference(rate, 5, lambda p: p["omega"], _square_error, penalty)


@reference
def trainable_rate() -> Reference:
    g = line(8, 0, 1)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        spread = p["W2"] * g.d(g.padded(z, {"x": NEUMANN}), x=2)
        Z = p["W0"] * z + spread - p["b"]
        return {"z": -p["gamma"] * (z - jnp.tanh(Z))}

    return Reference(rate, 5, constant(0.3), _square_error)


@reference
def transport() -> Reference:
    g = Grid({"x": Axis(6, 0, 1, True), "y": Axis(7, 0, 1)})

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z, w = state["z"], state["w"]
        wide_z = g.padded(z, {"y": (Wall(1, 0, 1), Wall(0, 1, 0))})
        wide_w = g.padded(w, {"y": (Wall(1, 0, 0.5), Wall(1, 0, 0.5))})
        mixing = jnp.einsum("ij,bjxy->bixy", p["M"], z) * w[:, None]
        drift = 0.1 * g.d(wide_z, x=1) / (1 + w**2)[:, None]
        lift = p["n"][:, None, None] * g.d(wide_w, y=1)[:, None] / 10
        bent = 0.002 * g.d(wide_w, x=1, y=1) + 0.001 * g.laplacian(wide_w)
        feed = 0.1 * _mean(z)[:, None, None]
        return {"z": mixing - drift + lift, "w": p["k"][n] * (1 - w) + bent + feed}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        return _mean((z["z"] - y["p"]) ** 2) + _mean(z["w"] ** 3)

    return Reference(rate, 3, constant(0.2), loss)


@reference
def walls1d() -> Reference:
    g = line(12, 0, 1.5)

    def rate(p: Arrays, n: Any, state: Arrays, inputs: Arrays) -> Arrays:
        z = state["z"]
        u = g.padded(z, {"x": (Wall(1, 0, 0.7), Wall(0, 1, -0.4))})
        moments = p["W1"] * g.d(u, x=1) + p["W2"][n] * g.d(u, x=2)
        return {"z": -2 * (z - jnp.tanh(p["W0"][n] * z + moments - p["b"][n]))}

    half = lambda p, z, inputs, y: _square_error(p, z, inputs, y) / 2  # noqa: E731
    return Reference(rate, 4, constant(0.15), half)


# --- walls whose numbers are computed -------------------------------------------------


@reference
def boundary_line() -> Reference:
    g = Grid({"x": Axis(9, 0, 1)}, accuracy=4)
    dx = g.axes["x"].spacing

    def ghosts(p: Arrays, n: Any, z: Arrays, inputs: Arrays) -> tuple[Any, Any]:
        T, w = z["T"], z["w"]
        low = Met([1.0], p["s"][n] * inputs["Tin"] + 0.1)
        high = Met([p["h"], 1.0], p["h"] * p["Text"])
        wide_T = padded(T, [Side(-1, dx, [low], [high])], 4)
        fed = Met([p["p"], -1.0], jnp.einsum("ij,bj->bi", p["A"], inputs["r"]))
        ends = Side(-1, dx, [fed], [Met([0.0, 1.0], p["m"])])
        return wide_T, padded(w, [ends], 4)

    def rate(p: Arrays, n: Any, z: Arrays, inputs: Arrays) -> Arrays:
        wide_T, wide_w = ghosts(p, n, z, inputs)
        T = p["D"] * g.d(wide_T, x=2) - 0.2 * g.d(wide_T, x=1) + 0.1 * z["w"][:, 0]
        w = p["D"] * g.d(wide_w, x=2) - jnp.tanh(z["T"])[:, None] * z["w"]
        return {"T": T, "w": w}

    def loss(p: Arrays, z: Arrays, inputs: Arrays, y: Arrays) -> Any:
        _, wide_w = ghosts(p, 0, z, inputs)
        slope = _mean(g.d(wide_w, x=1)) ** 2
        return _mean((z["T"] - y["y"]) ** 2) + slope

    return Reference(rate, 4, constant(0.1), loss)


@reference
def boundary_plane() -> Reference:
    axes = {"x": Axis(6, 0, 1), "y": Axis(5, 0, 2), "q": Axis(4, 0, 1, True)}
    g = Grid(axes)
    x = axes["x"].points()[:, None]
    y = axes["y"].points()[:, None]

    def rate(p: Arrays, n: Any, z: Arrays, inputs: Arrays) -> Arrays:
        u, given = z["u"], inputs["g"]
        fed = p["c"] * inputs["k"][:, :, None]
        held = jnp.tanh(inputs["s"])[:, None, None] + jnp.sin(jnp.pi * y) / 5
        along_x = Side(
            -3,
            axes["x"].spacing,
            [Met([p["a"][:, None], 0.5], fed)],
            [Met([1.0], held)],
        )
        along_y = Side(
            -2,
            axes["y"].spacing,
            [Met([1.0], given**2 + p["b"][:, None])],
            [Met([p["e"], 1.0], p["e"] * given * x)],
        )
        w = padded(u, [along_x, along_y, Side(-1, axes["q"].spacing)], 2)
        mixed = 0.02 * g.d(w, x=1, y=1) + 0.01 * g.d(w, y=1, q=1)
        return {"u": p["D"] * g.laplacian(w) + mixed - 0.1 * u**3}

    return Reference(rate, 3, constant(0.05), _square_error, scheme=heun)


@reference
def boundary_beam() -> Reference:
    g = line(10, 0, 1)

    def rate(p: Arrays, n: Any, z: Arrays, inputs: Arrays) -> Arrays:
        low = [Met([1.0], p["height"]), Met([0.0, -1.0], p["tilt"])]
        high = [Met([p["k"], 0.0, 1.0], p["moment"]), Met([1.0], 0.1)]
        w = padded(z["u"], [Side(-1, g.axes["x"].spacing, low, high)], 2)
        return {"u": inputs["load"] - 0.01 * g.d(w, x=4)}

    return Reference(rate, 5, constant(0.01), _square_error, scheme=implicit)
