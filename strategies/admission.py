"""The limits before each action, compiled: what of a decision's actions may go out, and what each limit held back."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np

from market.compiled import compiled, inlined
from market.events import ASK, BID
from market.records import row
from market.valuation import turnover
from strategies.values import Kind


class Limit(IntEnum):
    """What can refuse or cut an order; the index of its count. Names, in lower case, are what counts and journals show;
    of UNKNOWN they say what is not known."""

    POSITION = 0
    ORDER_SIZE = 1
    LADDER_SIZE = 2
    ORDER_NOTIONAL = 3
    GROSS_NOTIONAL = 4
    NET_NOTIONAL = 5
    MESSAGES = 6
    COLLAR_MID = 7
    COLLAR_LAST = 8
    OPEN_ORDERS = 9
    DUPLICATE = 10
    SELF_TRADE = 11
    UNKNOWN = 12


LIMITS = np.dtype(
    [
        ("max_position_lots", np.int64), ("max_order_lots", np.int64), ("max_ladder_lots", np.int64),
        ("max_open_orders", np.int64), ("price_collar_bps", np.float64), ("last_collar_bps", np.float64),
        ("max_order_notional", np.float64), ("max_gross_notional", np.float64), ("max_net_notional", np.float64),
        ("max_messages_per_s", np.float64),
    ]
)  # fmt: skip
"""Field for field a `LimitsConfig`; no limit is -1 (lots), NaN (the others)."""

RISK = np.dtype(
    [
        ("position", np.int64), ("buys", np.int64), ("sells", np.int64), ("open_orders", np.int64), ("last", np.int64),
        ("others_gross", np.float64), ("others_net", np.float64), ("messages", np.float64), ("unknown", np.bool_),
    ],
    align=True,
)  # fmt: skip
"""A `RiskState` without its orders; `unknown` says whether something has to be known and is not."""

STANDING = np.dtype([("side", np.int64), ("price", np.int64), ("waits", np.bool_)], align=True)
"""One order at the venue: ticks, and whether it waits for an answer."""

_PLACE, _AMEND, _CANCEL = int(Kind.PLACE), int(Kind.AMEND), int(Kind.CANCEL)
_POSITION, _ORDER_SIZE, _LADDER_SIZE, _ORDER_NOTIONAL, _GROSS, _NET, _MESSAGES = (int(x) for x in list(Limit)[:7])
_COLLAR_MID, _COLLAR_LAST, _OPEN_ORDERS, _DUPLICATE, _SELF_TRADE, _UNKNOWN = (int(x) for x in list(Limit)[7:])
_NONE = -1
_MOST = 1 << 62
_NO_BID, _NO_ASK = -_MOST, _MOST
_LEAST_VALUE = 1e-12  # a price of nothing divides by this


@inlined
def _whole(lots: float) -> int:
    """Whole lots, towards zero; what no integer holds is more than any order."""
    if lots >= _MOST:
        return _MOST
    return -_MOST if lots <= -_MOST else int(lots)


@inlined
def _value(value: Any, ticks: float) -> float:
    worth = turnover(value, ticks)
    return _LEAST_VALUE if worth < _LEAST_VALUE else worth


@inlined
def _left(limit: float, used: float, worth: float) -> int:
    """Lots that a limit in money leaves; where what is used is not known, none."""
    return 0 if math.isnan(used) else _whole((limit - used) / worth)


@inlined
def _is_unanswered(standing: Any, actions: Any, k: int, side: int, price: int) -> bool:
    """Whether an order of ours at that price waits for the venue's answer, or is among the first `k` actions."""
    found = False
    for j in range(len(standing)):
        found |= standing[j].waits and standing[j].side == side and standing[j].price == price
    for j in range(k):
        found |= actions[j].kind == _PLACE and actions[j].side == side and actions[j].price == price
    return found


@inlined
def _refusal(
    limits: Any, risk: Any, standing: Any, mid_ticks: float, count: int, touch: Any, actions: Any, i: int, k: int
) -> int:
    """The limit that refuses the placement `actions[i]`, -1 for none, where `k` are admitted.

    `touch` are our highest bid and lowest ask, `count` our open orders.
    """
    side, price, last = actions[i].side, actions[i].price, risk.last
    refusal = _UNKNOWN if risk.unknown else _NONE
    if abs(price - mid_ticks) > limits.price_collar_bps * 1e-4 * mid_ticks:
        refusal = _COLLAR_MID
    elif last != 0 and abs(price - last) > limits.last_collar_bps * 1e-4 * last:  # never where the limit is NaN
        refusal = _COLLAR_LAST
    elif count >= limits.max_open_orders:
        refusal = _OPEN_ORDERS
    elif _is_unanswered(standing, actions, k, side, price):
        refusal = _DUPLICATE
    elif (side == BID and price >= touch[1]) or (side == ASK and price <= touch[0]):
        refusal = _SELF_TRADE
    return refusal


@inlined
def _fit(
    limits: Any, value: Any, risk: Any, mid_ticks: float, side: int, price: int, size: int, room: int, resting: Any
) -> tuple[int, int]:
    """How many lots of a placement fit, and which limit is the tightest (-1 where all fit).

    `room` is what the position limit leaves, `resting` the lots of our bids and asks.
    """
    fits, tightest = size, _NONE
    ours = resting[0] if side == BID else resting[1]
    if room < fits:
        fits, tightest = room, _POSITION
    if limits.max_order_lots < fits:
        fits, tightest = limits.max_order_lots, _ORDER_SIZE
    if limits.max_ladder_lots != _NONE and limits.max_ladder_lots - ours < fits:
        fits, tightest = limits.max_ladder_lots - ours, _LADDER_SIZE
    if not math.isnan(limits.max_order_notional):
        left = _whole(limits.max_order_notional / _value(value, float(price)))
        if left < fits:
            fits, tightest = left, _ORDER_NOTIONAL
    if math.isnan(limits.max_gross_notional) and math.isnan(limits.max_net_notional):
        return fits, tightest
    worth = _value(value, mid_ticks)
    if not math.isnan(limits.max_gross_notional):
        used = risk.others_gross + (abs(risk.position) + resting[0] + resting[1]) * worth
        left = _left(limits.max_gross_notional, used, worth)
        if left < fits:
            fits, tightest = left, _GROSS
    if not math.isnan(limits.max_net_notional):
        sign = 1 if side == BID else -1
        used = sign * (risk.others_net + risk.position * worth) + ours * worth
        left = _left(limits.max_net_notional, used, worth)
        if left < fits:
            fits, tightest = left, _NET
    return fits, tightest


@compiled
def admit(
    limits: Any, value: Any, risk: Any, standing: Any, mid_ticks: float, actions: Any, n: int, refusals: Any
) -> int:
    """Check the first `n` actions of a table in order; cancels always pass, amendments as long as messages last.

    What is admitted is written to the table's begin, placements cut down where part of them fits.

    Parameters
    ----------
    limits, value, risk : LIMITS, VALUE and RISK records
    standing : (orders,) STANDING
        Everything at the venue.
    mid_ticks : float
    actions : (>= n,) ACTION
    n : int
    refusals : (limits,) int64
        How many were cut or refused, by `Limit`; counted up.

    Returns
    -------
    int
        How many are admitted.

    """
    limits, value, risk = row(limits), row(value), row(risk)
    buy_room = limits.max_position_lots - risk.position - risk.buys
    sell_room = limits.max_position_lots + risk.position - risk.sells
    buys, sells, count, messages = risk.buys, risk.sells, risk.open_orders, risk.messages
    highest_bid, lowest_ask = _NO_BID, _NO_ASK
    for j in range(len(standing)):
        if standing[j].side == BID:
            highest_bid = max(highest_bid, standing[j].price)
        elif standing[j].side == ASK:
            lowest_ask = min(lowest_ask, standing[j].price)
    k = 0
    for i in range(n):
        kind = actions[i].kind
        if kind != _CANCEL and messages < 1.0:
            refusals[_MESSAGES] += 1
            continue
        if kind != _PLACE:
            messages -= 1.0
            actions[k] = actions[i]
            k += 1
            continue
        side, price, size = actions[i].side, actions[i].price, actions[i].size
        refusal = _refusal(limits, risk, standing, mid_ticks, count, (highest_bid, lowest_ask), actions, i, k)
        if refusal != _NONE:
            refusals[refusal] += 1
            continue
        room = buy_room if side == BID else sell_room
        fits, tightest = _fit(limits, value, risk, mid_ticks, side, price, size, room, (buys, sells))
        if fits < size:
            refusals[tightest] += 1
        if fits <= 0:
            continue
        actions[k] = actions[i]
        actions[k].size = fits
        k += 1
        messages -= 1.0
        count += 1
        if side == BID:
            buy_room -= fits
            buys += fits
            highest_bid = max(highest_bid, price)
        else:
            sell_room -= fits
            sells += fits
            lowest_ask = min(lowest_ask, price)
    return k
