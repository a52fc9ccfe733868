"""What forward and value_and_grad do about growth before they run."""

from __future__ import annotations

import warnings

from pdec.runtime.checks import _Run
from pdec.runtime.generated import MODEL, _judge_run, _suspect
from pdec.runtime.host import _taken
from pdec.runtime.types import Array, Arrays, StabilityError, StabilityWarning

# --- the check before a run ----------------------------------------------------------


class _Watch:
    """What was seen of late: in training parameters creep, and a look takes time.

    warned holds the bases of verdicts that were warned of; once is enough until a look
    finds nothing to suspect.
    """

    def __init__(self) -> None:
        self.rest, self.pause = 0, 16  # calls until the verdict is worked out again
        self.warned: set[str] = set()
        # [feature: not quick]
        # the parameters that were looked at, and how far they may go before the next
        # look; there is one after 16 calls, and as long as it finds nothing after twice
        # as many each time, up to 256
        self.at: dict[str, tuple[Array, float]] = {}
        self.calls, self.every, self.suspect = 0, 16, False
        # [end]


_WATCH = _Watch()


def _guard(p: Arrays, run: _Run, check: str) -> None:
    """Refuse, or warn of, a run that is numerically unstable.

    A quick look settles most cases: only where it finds too much growth is the verdict
    worked out.
    """
    if check not in ("raise", "warn", "off"):
        raise ValueError(f'check is {check!r}, expected "raise", "warn" or "off"')
    # [feature: steady]
    return  # nothing is stepped
    # [end]
    if check == "off":
        return
    if not _suspect(p, run):
        _WATCH.rest, _WATCH.pause = 0, 16
        _WATCH.warned.clear()
        return
    _WATCH.rest -= 1
    refuses = check == "raise" and "exact" in _WATCH.warned
    if _WATCH.rest > 0 or (_WATCH.warned and not refuses):
        return
    p = {name: _taken(x, f"p[{name!r}]", "an array", "one") for name, x in p.items()}
    try:
        report = _judge_run(p, run)
    except ArithmeticError as error:
        if not _WATCH.warned:
            warnings.warn(str(error), StabilityWarning, stacklevel=3)
        _WATCH.warned.add("")
        return
    known = report.basis == "exact"
    if report.numerical not in ("unstable", "unknown"):
        _WATCH.rest, _WATCH.pause = _WATCH.pause, min(2 * _WATCH.pause, 1024)
        return
    text = f"{MODEL.name}: this run {'is' if known else 'may be'} numerically unstable"
    text += f'. Pass check="off" to run it all the same.\n{report}'
    if known and check == "raise":
        raise StabilityError(text)
    if report.basis in _WATCH.warned:
        return
    _WATCH.warned.add(report.basis)
    warnings.warn(text, StabilityWarning, stacklevel=3)
