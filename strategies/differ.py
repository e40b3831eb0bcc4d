"""Keep what rests: the fewest order actions that turn the working orders into the wanted ladder.

Queue place is money and each action costs time and rate limit, so that an order is touched only
where its price or size is wrong by more than a tolerance. Sizes shrink by amendment, which keeps
the queue place; everything else is cancel and place.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from market.compiled import inlined
from market.events import BID
from market.records import row, state_of
from strategies.values import Action, Kind

RESTING = np.dtype([("price", np.int64), ("left", np.int64)])
"""One order that may be touched: ticks, and lots that are left of it."""

_KEEP, _CANCEL = 0, -1  # verdicts; any positive one is the size to amend to
_PLACE_KIND, _AMEND_KIND, _CANCEL_KIND = int(Kind.PLACE), int(Kind.AMEND), int(Kind.CANCEL)
_KINDS = tuple(Kind)


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


DIFFER = np.dtype(
    [
        ("price_tolerance_ticks", np.int64), ("price_tolerance_sigmas", np.float64), ("size_tolerance", np.float64),
    ]
)  # fmt: skip
"""Field for field a `DifferConfig`."""


def differ_state(config: DifferConfig) -> Any:
    """The tolerances as kernels take them."""
    return state_of(DIFFER, **msgspec.structs.asdict(config))


@inlined
def tolerance_of(differ: Any, sigma_ticks: float) -> int:
    """How much too passive an order may be, ticks; half a tick goes to the even one."""
    differ = row(differ)
    ticks: int = max(differ.price_tolerance_ticks, round(differ.price_tolerance_sigmas * sigma_ticks))
    return ticks


@inlined
def _match(differ: Any, inward: int, wanted: Any, resting: Any, tolerance: int, verdict: Any, missing: Any) -> None:
    """Match wanted levels to resting orders of one side, best levels first, nearest price first.

    `inward` is 1 for bids and -1 for asks; an order may be `tolerance` ticks further from mid than wanted,
    `price_tolerance_ticks` nearer. Writes verdict (n,) and missing (m,) (1 where an order has to be placed).
    """
    for i in range(len(resting)):
        verdict[i] = _CANCEL
    for j in range(len(wanted)):
        missing[j] = 1
        best, distance = -1, 1 << 60
        for i in range(len(resting)):
            nearer = inward * (resting[i].price - wanted[j, 0])
            if verdict[i] != _CANCEL or nearer < -tolerance or nearer > differ.price_tolerance_ticks:
                continue
            if abs(nearer) < distance:
                best, distance = i, abs(nearer)
        if best < 0:
            continue
        excess = resting[best].left - wanted[j, 1]
        if excess > differ.size_tolerance * wanted[j, 1]:
            verdict[best] = wanted[j, 1]
            missing[j] = 0
        elif -excess <= differ.size_tolerance * wanted[j, 1]:
            verdict[best] = _KEEP
            missing[j] = 0


@inlined
def _write(action: Any, kind: int, side: int, price: int, size: int, order: int) -> None:
    action.kind = kind
    action.side = side
    action.price = price
    action.size = size
    action.order = order


@inlined
def diff_side(
    differ: Any,
    side: int,
    wanted: Any,
    resting: Any,
    tolerance: int,
    verdict: Any,
    missing: Any,
    actions: Any,
    n: int,
) -> int:
    """Append one side's actions to a table: cancels, amendments, placements. Return how many actions it has then.

    Parameters
    ----------
    differ : DIFFER record
    side : int
        BID or ASK.
    wanted : (levels, 2) int64
        Price in ticks and lots, best first.
    resting : (orders,) RESTING
        Orders that may be touched; an action's `order` is an index into them.
    tolerance : int
        How much too passive an order may be, ticks.
    verdict, missing : (>= orders,) int64, (>= levels,) int64
        Scratch.
    actions : (>= n + orders + levels,) ACTION
    n : int
        Actions that stand there already.

    """
    _match(row(differ), 1 if side == BID else -1, wanted, resting, tolerance, verdict, missing)
    for i in range(len(resting)):
        if verdict[i] == _CANCEL:
            _write(actions[n], _CANCEL_KIND, side, resting[i].price, 0, i)
            n += 1
    for i in range(len(resting)):
        if verdict[i] > _KEEP:
            _write(actions[n], _AMEND_KIND, side, resting[i].price, verdict[i], i)
            n += 1
    for j in range(len(wanted)):
        if missing[j]:
            _write(actions[n], _PLACE_KIND, side, wanted[j, 0], wanted[j, 1], -1)
            n += 1
    return n


def actions_of(table: NDArray[np.void]) -> list[Action]:
    """The actions of a table's rows."""
    return [Action(_KINDS[kind], side, price, size, order) for kind, side, price, size, order in table.tolist()]
