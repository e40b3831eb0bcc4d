"""Ladders: arithmetic sequences of prices and sizes around a pair of best quotes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from market.compiled import inlined
from market.records import row, state_of

MAX_LEVELS = 20


class LadderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of a ladder.

    Parameters
    ----------
    levels : int
        J, orders a side.
    price_step_ticks : int
        Δp, distance between levels.
    size_lots, size_step_lots : int
        v0 and Δv: level j offers v0 + j Δv, before scaling.
    volume_share : float
        A side's total as a share of the forecast volume; 0 leaves v0 and Δv as they are.
    max_level_lots : int
        Cap of one level after scaling.

    """

    levels: Annotated[int, Meta(ge=1, le=MAX_LEVELS)] = 3
    price_step_ticks: Annotated[int, Meta(ge=1)] = 1
    size_lots: Annotated[int, Meta(ge=1)] = 1
    size_step_lots: Annotated[int, Meta(ge=0)] = 1
    volume_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    max_level_lots: Annotated[int, Meta(ge=1)] = 1_000_000


LADDER = np.dtype(
    [
        ("levels", np.int64), ("price_step_ticks", np.int64), ("size_lots", np.int64), ("size_step_lots", np.int64),
        ("volume_share", np.float64), ("max_level_lots", np.int64),
    ]
)  # fmt: skip
"""Field for field a `LadderConfig`."""


def ladder_state(config: LadderConfig) -> Any:
    """The shape as kernels take it."""
    return state_of(LADDER, **msgspec.structs.asdict(config))


@inlined
def _fill_side(ladder: Any, out: Any, best: int, direction: int, scale: float, room: int) -> int:
    """Fill one side; return its levels. Prices move away from the touch, total size stays within `room`."""
    filled = 0
    for j in range(ladder.levels):
        size = min(int(scale * (ladder.size_lots + j * ladder.size_step_lots)), ladder.max_level_lots)
        size = min(max(size, 1), room)
        if size <= 0:
            break
        out[filled, 0] = best + direction * j * ladder.price_step_ticks
        out[filled, 1] = size
        room -= size
        filled += 1
    return filled


@inlined
def build_ladder(
    ladder: Any,
    out: Any,
    bid: float,
    ask: float,
    touch_bid: int,
    touch_ask: int,
    volume_lots: float,
    buy_room: int,
    sell_room: int,
) -> tuple[int, int]:
    """Write both sides into `out (2, >= levels, 2) int64`; return the number of levels (bids, asks).

    `bid` and `ask` are the wanted best prices in (fractional) ticks; they are rounded away from
    the touch and never cross it. `volume_lots` is the forecast volume, 0 where there is none.
    """
    ladder = row(ladder)
    best_bid = min(int(np.floor(bid + 1e-9)), touch_ask - 1)
    best_ask = max(int(np.ceil(ask - 1e-9)), touch_bid + 1)
    if best_bid >= best_ask:  # a forecast beyond the spread: keep to the side it favours
        best_ask = max(best_ask, best_bid + 1)
    levels, volume = ladder.levels, ladder.volume_share * volume_lots
    base = levels * ladder.size_lots + ladder.size_step_lots * levels * (levels - 1) // 2
    scale = volume / base if volume > 0.0 else 1.0
    bids = _fill_side(ladder, out[0], best_bid, -1, scale, max(buy_room, 0))
    asks = _fill_side(ladder, out[1], best_ask, 1, scale, max(sell_room, 0))
    return bids, asks
