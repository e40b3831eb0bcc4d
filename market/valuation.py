"""What a position is worth: linear in the price, or for an inverse contract minus the coins that a lot buys.

One formula: compiled for kernels, which read it from a record, and as it stands for Python's numbers and arrays.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.compiled import inlined, plain
from market.records import state_of

VALUE = np.dtype([("factor", np.float64), ("inverse", np.bool_)], align=True)
"""`factor` is the money that a lot gains by a tick, of an `inverse` contract the coins that a lot buys at one tick."""


@inlined
def mark_value(value: Any, ticks: Any) -> Any:
    """Value of one lot held long at a price, up to a constant, settlement currency."""
    if value.inverse:
        return -value.factor / ticks
    return value.factor * ticks


@inlined
def turnover(value: Any, ticks: float) -> float:
    """What trading one lot at a price moves, settlement currency."""
    moved: float = abs(mark_value(value, ticks))
    return moved


@inlined
def tick_value(value: Any, ticks: float) -> float:
    """What one lot gains when the price rises by a tick, settlement currency."""
    gained: float = mark_value(value, ticks + 0.5) - mark_value(value, ticks - 0.5)
    return gained


class Valuation(msgspec.Struct, frozen=True):
    """The terms of `mark_value`; called with a price in ticks, or an array of them, it gives the value.

    What a position gains is the difference of its mark value.

    Parameters
    ----------
    factor : float
        Money that a lot gains by a tick, of an inverse contract the coins that a lot buys at one tick.
    inverse : bool

    """

    factor: float = 1.0
    inverse: bool = False

    def __call__[T: (float, NDArray[np.float64])](self, ticks: T) -> T:
        result: T = _formula(self, ticks)
        return result

    def turnover(self, ticks: float) -> float:
        """What trading one lot at a price moves, settlement currency."""
        return abs(self(ticks))

    def state(self) -> Any:
        """The terms as compiled code takes them."""
        return state_of(VALUE, factor=self.factor, inverse=self.inverse)


PLAIN: Final = Valuation()
"""A tick of a lot is worth one: the unit where no contract is given."""

_formula = plain(mark_value)
