"""Pre-trade risk checks: limits that hold even if every resting order fills at once."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from market.records import state_of
from strategies.admission import LIMITS, Limit

type Positive = Annotated[float, Meta(gt=0)]


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hard limits of one instrument; amounts are in settlement currency, null is no limit.

    Parameters
    ----------
    max_position_lots : int
        |position| plus everything resting on the side that increases it stays within this.
    max_order_lots : int
        Largest single order.
    max_ladder_lots : int, optional
        All orders of one side together.
    max_open_orders : int
        Orders at the venue, both sides.
    price_collar_bps : float
        No order further from mid than this, in hundredths of a percent of it.
    last_collar_bps : float, optional
        The same against the last trade.
    max_order_notional : float, optional
        Largest single order, in money.
    max_gross_notional, max_net_notional : float, optional
        Of positions and everything resting, over all instruments of the account.
    max_messages_per_s : float, optional
        Budget of placements, amendments and cancels, as a bucket that holds one second of it. Cancels
        count and always pass.

    """

    max_position_lots: Annotated[int, Meta(ge=1)] = 10
    max_order_lots: Annotated[int, Meta(ge=1)] = 10
    max_ladder_lots: Annotated[int, Meta(ge=1)] | None = None
    max_open_orders: Annotated[int, Meta(ge=1)] = 20
    price_collar_bps: Positive = 100.0
    last_collar_bps: Positive | None = None
    max_order_notional: Positive | None = None
    max_gross_notional: Positive | None = None
    max_net_notional: Positive | None = None
    max_messages_per_s: Positive | None = None


class Exposure(NamedTuple):
    """Position and what is at the venue, whatever its state: a cancel under way may still fill."""

    position: int = 0
    buys: int = 0
    sells: int = 0
    orders: int = 0


class AccountExposure(NamedTuple):
    """What the account holds beyond this instrument, in money; NaN while unknown.

    `unknown` names what has to be known before an order goes out and is not: mark, fee or balance.
    """

    unknown: str = ""
    others_gross: float = 0.0
    others_net: float = 0.0


class RiskState(NamedTuple):
    """All that the checks go by at one decision.

    `orders` are (side, price in ticks, whether it waits for the venue's answer) of everything at the venue;
    `last` is the last trade in ticks, 0 before the first; `others_gross` and `others_net` are the
    account's positions in other instruments, in money, NaN while unknown; `messages` is what is left
    of the budget; `unknown` names what has to be known and is not (mark, fee, balance).
    """

    position: int
    buys: int
    sells: int
    open_orders: int
    orders: tuple[tuple[int, int, bool], ...]
    last: int = 0
    others_gross: float = 0.0
    others_net: float = 0.0
    messages: float = float("inf")
    unknown: str = ""


def limits_state(config: LimitsConfig) -> Any:
    """The limits as compiled code takes them."""
    values = msgspec.structs.asdict(config)
    for name, value in values.items():
        if LIMITS[name] == np.int64:
            values[name] = min(value, _MOST_LOTS) if value is not None else -1
        elif value is None:
            values[name] = math.nan
    return state_of(LIMITS, **values)


def scalars_of(risk: RiskState) -> tuple[int, int, int, int, int, float, float, float, bool]:
    """What a RISK record holds."""
    return (
        risk.position, risk.buys, risk.sells, risk.open_orders, risk.last, risk.others_gross, risk.others_net,
        risk.messages, bool(risk.unknown),
    )  # fmt: skip


def refusals_of(counts: NDArray[np.int64], unknown: str) -> dict[str, int]:
    """How many actions were cut or refused, by the name of the limit; `unknown` is what is not known."""
    names = (f"unknown_{unknown}" if limit == Limit.UNKNOWN else limit.name.lower() for limit in Limit)
    return {name: count for name, count in zip(names, counts.tolist(), strict=True) if count}


_MOST_LOTS = 1 << 53
