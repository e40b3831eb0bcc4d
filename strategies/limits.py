"""Limits that hold even if every resting order fills at once."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from strategies.values import BID, Action, Kind


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hard limits of one instrument.

    Parameters
    ----------
    max_position_lots : int
        |position| plus everything resting on the side that increases it stays within this.
    max_order_lots : int
        Largest single order.
    max_open_orders : int
        Orders at the venue, both sides.
    price_collar_bps : float
        No order further from mid than this, in hundredths of a percent of it.

    """

    max_position_lots: Annotated[int, Meta(ge=1)] = 10
    max_order_lots: Annotated[int, Meta(ge=1)] = 10
    max_open_orders: Annotated[int, Meta(ge=1)] = 20
    price_collar_bps: Annotated[float, Meta(gt=0)] = 100.0


class Exposure:
    """Position and what is at the venue, whatever its state: a cancel under way may still fill."""

    def __init__(self) -> None:
        self.position = 0
        self.buys = 0
        self.sells = 0
        self.orders = 0


def admit(
    actions: list[Action], exposure: Exposure, mid_ticks: float, config: LimitsConfig
) -> tuple[list[Action], int]:
    """Let through what the limits allow; cancels and amendments (which only shrink) always pass.

    Returns
    -------
    tuple[list[Action], int]
        The admitted actions, placements cut down where part of them fits, and how many were cut
        or refused.

    """
    room_buy = config.max_position_lots - exposure.position - exposure.buys
    room_sell = config.max_position_lots + exposure.position - exposure.sells
    collar = config.price_collar_bps * 1e-4 * mid_ticks
    room_orders = config.max_open_orders - exposure.orders
    admitted, bound = [], 0
    for action in actions:
        if action.kind != Kind.PLACE:
            admitted.append(action)
            continue
        room = room_buy if action.side == BID else room_sell
        size = min(action.size, room, config.max_order_lots)
        if size < action.size:
            bound += 1
        if size <= 0 or room_orders <= 0 or abs(action.price - mid_ticks) > collar:
            bound += size == action.size
            continue
        admitted.append(action._replace(size=size))
        room_orders -= 1
        if action.side == BID:
            room_buy -= size
        else:
            room_sell -= size
    return admitted, bound
