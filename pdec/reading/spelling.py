"""Spelling: the words of the language and the ASCII name of every name.

A name may be written in Greek or ASCII, and the spelling chosen never changes what the
model means: the canonical name is the key of the parameters and the identifier in the
generated code.

    canonical("κ") = "kappa"    canonical("W₀") = "W0"    canonical("λ") = "lambda_"

Letters that look alike are folded by the table below (never by NFKC, which would turn
v² into v2), or refused with their name.
"""

from __future__ import annotations

import keyword
import unicodedata

STATEMENT_WORDS: tuple[str, ...] = (
    "model",
    "dim",
    "grid",
    "field",
    "param",
    "input",
    "const",
    "kernel",
    "at",
    "steps",
    "scheme",
    "accuracy",
    "dtype",
    "target",
    "readout",
    "loss",
)
"""The words that start a statement."""

RESERVED: frozenset[str] = frozenset(STATEMENT_WORDS) | {
    "class",
    "every",
    "in",
    "include",
    "init",
    "laplacian",
    "on",
    "periodic",
    "psd",
    "sample",
}
"""The words that no name may use."""

GREEK: dict[str, str] = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "ι": "iota",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "υ": "upsilon",
    "φ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Ξ": "Xi",
    "Π": "Pi",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
    # Variants of the same letters (NFC has already folded the ohm sign).
    "\u00b5": "mu",
    "\u03c2": "sigma",
    "\u03d1": "theta",
    "\u03d5": "phi",
    "\u03d6": "pi",
    "\u03f0": "kappa",
    "\u03f1": "rho",
    "\u03f5": "epsilon",
    "\u2206": "Delta",
}

SUBSCRIPTS: dict[str, str] = dict(
    zip("₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789aehijklmnoprstuvx", strict=True)
)

SUPERSCRIPTS: dict[str, str] = dict(zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True))

LOOK_ALIKES: dict[str, str] = {
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True)),
    **dict(zip("АВЕКМНОРСТХаеорсухіјѕһ", "ABEKMHOPCTXaeopcyxijsh", strict=True)),
}
"""Letters of other alphabets that cannot be told from Latin ones."""

_REMEDIES: dict[str, str] = {
    "×": "a product is written `*` or `·`",
    "÷": "a quotient is written `/`",
    "–": "write `-`",
    "—": "write `-`",
    "∙": "write `·` or `*`",
    "•": "write `·` or `*`",
    "∞": "bounds are finite numbers",
    "{": "write `(`",
    "}": "write `)`",
    "&": "give both conditions one after the other: `>= 0 <= 1`",
    '"': "names are written without quotes; a comment starts with `#`",
    "!": "the language has no logical operators",
    "%": "a comment starts with `#`",
    ".": "a product is `*` or `·`, and a number has digits on both sides of the point",
    "_": "a name starts with a letter",
    "⁻": "a superscript minus stands before digits: `x⁻¹`",
    "∑": "write `sum(…)`",
    "∫": "write `integral(…)`",
}

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SIGNS = " \t\n.+-*/^=<>()[],:;−·⋅≤≥∂∇√ᵀ"

ALPHABET: frozenset[str] = frozenset(_LETTERS + "0123456789_" + _SIGNS).union(
    GREEK, SUBSCRIPTS, SUPERSCRIPTS
)
"""Every character that may stand outside a comment."""


def canonical(text: str) -> str:
    """Return the ASCII identifier of a name: ``κ₀`` → ``kappa0``.

    A word that Python reserves gets a trailing underscore, so λ and lambda are
    both ``lambda_``.
    """
    name = "".join(
        GREEK.get(letter) or SUBSCRIPTS.get(letter) or letter for letter in text
    )
    return f"{name}_" if keyword.iskeyword(name) else name


def describe(character: str) -> str:
    """Return a character with its code point and, outside ASCII, its name."""
    point = f"U+{ord(character):04X}"
    if character.isascii():
        return f"'{character}' ({point})"
    name = unicodedata.name(character, "unnamed").lower()
    shown = f"'{character}' " if character.isprintable() else ""
    return f"{shown}({point}, {name})".strip("()" if not shown else "")


def remedy(character: str) -> str | None:
    """Say what to write in the place of a character that the language lacks."""
    if character in _REMEDIES:
        return _REMEDIES[character]
    if character in SUBSCRIPTS:
        return "a subscript belongs to a name: `W₀`"
    plain = LOOK_ALIKES.get(character)
    if plain is None and character.isspace():
        return "write an ordinary space"
    if plain is None:
        plain = unicodedata.normalize("NFKC", character)
    if "\N{FRACTION SLASH}" in plain:  # what a vulgar fraction is made of
        return f"write `({plain.replace(chr(0x2044), '/')})`"
    if plain != character and plain.strip() and plain in ALPHABET:
        return f"it looks like '{plain}': write `{plain}`"
    if character.isalpha():
        return "names are made of Latin and Greek letters, digits, subscripts and `_`"
    return None
