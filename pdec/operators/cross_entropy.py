"""cross_entropy(logits, label): the negative log-likelihood of a class label.

    loss = log Σ_k exp(l_k - m) + m - l_label,      m = max_k l_k

The shift by m avoids overflow and cancels in exact arithmetic, so the maximum counts as
a constant in the derivative, which is the familiar softmax(l) - onehot(label).
"""

from __future__ import annotations

import sympy

from pdec.contracts import Operator, Scope
from pdec.forms.model import Typed
from pdec.forms.symbolic import Access, Equal, IndexValue
from pdec.source import Span


def _cross_entropy(arguments: tuple[Typed, ...], scope: Scope, span: Span) -> Typed:
    logits, label = arguments
    if len(logits.shape) != 1 or logits.domain:
        scope.fail(
            "the first argument of cross_entropy is a vector of logits",
            logits.span,
            "declare it as a readout, such as `readout logits[10] = …`",
        )
    if not isinstance(label.expr, Access) or label.shape or label.domain:
        scope.fail(
            "the second argument of cross_entropy is a class label",
            label.span,
            "declare it as `target label: class`",
        )
    over = ("i0",)
    number = frozenset[str]()
    peak = scope.define(
        "peak", Typed(logits.expr, (), number, span), over=over, maximum=True
    )
    excess = sympy.exp(logits.expr - peak.expr)
    weight = scope.define("weight", Typed(excess, logits.shape, number, span))
    total = scope.define("total", Typed(weight.expr, (), number, span), over=over)
    chosen = Equal(IndexValue("i0"), label.expr) * logits.expr
    picked = scope.define("picked", Typed(chosen, (), number, span), over=over)
    value = sympy.log(total.expr) + peak.expr - picked.expr
    return scope.define("cross_entropy", Typed(value, (), number, span))


PLUGINS = (
    Operator(
        "cross_entropy",
        2,
        _cross_entropy,
        "-log softmax(logits)[label]",
        "cross_entropy(logits, label)",
    ),
)
