"""Keep what rests: the fewest order actions that turn the working orders into the wanted ladder.

Queue place is money and each action costs time and rate limit, so that an order is touched only
where its price or size is wrong by more than a tolerance. Sizes shrink by amendment, which keeps
the queue place; everything else is cancel and place.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numba import njit
from numpy.typing import NDArray

from market.events import BID
from strategies.values import Action, Kind

_KEEP, _CANCEL = 0, -1  # verdicts; any positive one is the size to amend to


class DifferConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tolerances.

    Parameters
    ----------
    price_tolerance_ticks : int
        An order this close to a wanted price is kept.
    price_tolerance_sigmas : float
        The same in sigmas of the mid over the horizon, for orders that are too passive: those only
        fill less, while an order more aggressive than wanted is picked off.
    size_tolerance : float
        And if its size is off by no more than this share.

    """

    price_tolerance_ticks: Annotated[int, Meta(ge=0)] = 0
    price_tolerance_sigmas: Annotated[float, Meta(ge=0)] = 0.3
    size_tolerance: Annotated[float, Meta(ge=0)] = 0.5


@njit(cache=True)
def diff_core(wanted, working, inward, passive, aggressive, size_tolerance, verdict, missing):  # type: ignore[no-untyped-def]
    """Match wanted levels to working orders of one side, best levels first, nearest price first.

    wanted (m, 2) int64 (price, lots); working (n, 2) int64 (price, lots left); `inward` is 1 for bids
    and -1 for asks; an order may be `passive` ticks further from mid than wanted, `aggressive`
    ticks nearer. Writes verdict (n,) int64 and missing (m,) int64 (1 where an order has to be placed).
    """
    for i in range(working.shape[0]):
        verdict[i] = _CANCEL
    for j in range(wanted.shape[0]):
        missing[j] = 1
        best, distance = -1, 1 << 60
        for i in range(working.shape[0]):
            nearer = inward * (working[i, 0] - wanted[j, 0])
            if verdict[i] == _CANCEL and -passive <= nearer <= aggressive and abs(nearer) < distance:
                best, distance = i, abs(nearer)
        if best < 0:
            continue
        excess = working[best, 1] - wanted[j, 1]
        if excess > size_tolerance * wanted[j, 1]:
            verdict[best] = wanted[j, 1]
            missing[j] = 0
        elif -excess <= size_tolerance * wanted[j, 1]:
            verdict[best] = _KEEP
            missing[j] = 0


class Differ:
    """Compares ladders with working orders, one side at a time."""

    def __init__(self, config: DifferConfig, capacity: int = 64) -> None:
        self._c = config
        self._working = np.zeros((capacity, 2), np.int64)
        self._verdict = np.zeros(capacity, np.int64)
        self._missing = np.zeros(capacity, np.int64)

    def tolerance(self, sigma_ticks: float) -> int:
        """How much too passive an order may be, ticks."""
        return max(self._c.price_tolerance_ticks, round(self._c.price_tolerance_sigmas * sigma_ticks))

    def side(
        self, side: int, wanted: NDArray[np.int64], working: list[tuple[int, int]], tolerance: int
    ) -> list[Action]:
        """Actions for one side, cancels before amendments before placements.

        Parameters
        ----------
        side : int
            BID or ASK.
        wanted : ndarray (levels, 2) int64
            Price in ticks and lots.
        working : list[tuple[int, int]]
            (price in ticks, lots left) of the orders that may be touched; an action's `order` is
            an index into it.
        tolerance : int
            How much too passive an order may be, ticks.

        """
        n = len(working)
        if n:
            self._working[:n] = working
        diff_core(
            wanted, self._working[:n], 1 if side == BID else -1, tolerance, self._c.price_tolerance_ticks,
            self._c.size_tolerance, self._verdict, self._missing,
        )  # fmt: skip
        verdict, missing = self._verdict[:n].tolist(), self._missing[: len(wanted)].tolist()
        if not any(verdict) and not any(missing):
            return []
        actions = [Action(Kind.CANCEL, side, working[i][0], 0, i) for i in range(n) if verdict[i] == _CANCEL]
        actions += [Action(Kind.AMEND, side, working[i][0], verdict[i], i) for i in range(n) if verdict[i] > _KEEP]
        places = (level for level, out in zip(wanted.tolist(), missing, strict=True) if out)
        return actions + [Action(Kind.PLACE, side, price, size, -1) for price, size in places]
