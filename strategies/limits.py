"""Pre-trade risk checks: limits that hold even if every resting order fills at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from market.events import ASK, BID
from strategies.values import Action, Kind

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


class Exposure:
    """Position and what is at the venue, whatever its state: a cancel under way may still fill."""

    def __init__(self) -> None:
        self.position = 0
        self.buys = 0
        self.sells = 0
        self.orders = 0


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


def risk_of(exposure: Exposure, orders: Iterable[tuple[int, int, bool]] = ()) -> RiskState:
    """The risk state of an exposure where nothing else is known or limited."""
    return RiskState(exposure.position, exposure.buys, exposure.sells, exposure.orders, tuple(orders))


class RiskChecks:
    """Lets through what the limits allow. Without memory: the same risk state gives the same answer.

    Parameters
    ----------
    config : LimitsConfig
    turnover : callable
        What one lot at a price (ticks) moves, settlement currency.

    """

    def __init__(self, config: LimitsConfig, turnover: Callable[[float], float] = float) -> None:
        self.config, self._turnover = config, turnover
        self._counts_money = any(
            limit is not None
            for limit in (config.max_order_notional, config.max_gross_notional, config.max_net_notional)
        )

    def admit(self, actions: list[Action], risk: RiskState, mid_ticks: float) -> tuple[list[Action], Counter[str]]:
        """Check a list of actions in order; cancels always pass.

        Amendments only shrink an order and pass as long as the message budget lasts.

        Returns
        -------
        tuple[list[Action], Counter]
            The admitted actions, placements cut down where part of them fits, and how many were cut
            or refused, by limit.

        """
        c, s = self.config, risk
        admitted: list[Action] = []
        refusals: Counter[str] = Counter()
        capacity = [0, c.max_position_lots - s.position - s.buys, c.max_position_lots + s.position - s.sells]
        resting, count, messages = [0, s.buys, s.sells], s.open_orders, s.messages
        lowest_ask = min((p for side, p, _ in s.orders if side == ASK), default=None)
        highest_bid = max((p for side, p, _ in s.orders if side == BID), default=None)
        unanswered = {(side, price) for side, price, waits in s.orders if waits}
        for action in actions:
            kind, side, price, size, order = action
            if kind == Kind.CANCEL:
                messages -= 1.0
                admitted.append(action)
                continue
            if messages < 1.0:
                refusals["messages"] += 1
                continue
            if kind == Kind.AMEND:
                messages -= 1.0
                admitted.append(action)
                continue
            refusal = s.unknown and f"unknown_{s.unknown}"
            if abs(price - mid_ticks) > c.price_collar_bps * 1e-4 * mid_ticks:
                refusal = "collar_mid"
            elif c.last_collar_bps is not None and s.last and abs(price - s.last) > c.last_collar_bps * 1e-4 * s.last:
                refusal = "collar_last"
            elif count >= c.max_open_orders:
                refusal = "open_orders"
            elif (side, price) in unanswered:
                refusal = "duplicate"
            elif (side == BID and lowest_ask is not None and price >= lowest_ask) or (
                side == ASK and highest_bid is not None and price <= highest_bid
            ):
                refusal = "self_trade"
            if refusal:
                refusals[refusal] += 1
                continue
            fits, tightest = size, ""
            for name, limit in (
                ("position", capacity[side]),
                ("order_size", c.max_order_lots),
                ("ladder_size", size if c.max_ladder_lots is None else c.max_ladder_lots - resting[side]),
                *(self._money_capacity(side, size, s, resting, mid_ticks, price) if self._counts_money else ()),
            ):
                if limit < fits:
                    fits, tightest = limit, name
            if fits < size:
                refusals[tightest] += 1
            if fits <= 0:
                continue
            admitted.append(action if fits == size else Action(kind, side, price, fits, order))
            messages -= 1.0
            count += 1
            capacity[side] -= fits
            resting[side] += fits
            unanswered.add((side, price))
            if side == BID:
                highest_bid = price if highest_bid is None else max(highest_bid, price)
            else:
                lowest_ask = price if lowest_ask is None else min(lowest_ask, price)
        return admitted, refusals

    def _money_capacity(
        self, side: int, size: int, s: RiskState, resting: list[int], mid_ticks: float, price: int
    ) -> list[tuple[str, int]]:
        """Lots that the limits in money leave; an unknown position elsewhere leaves none."""
        c, mark = self.config, max(self._turnover(mid_ticks), 1e-12)
        capacity = []
        if c.max_order_notional is not None:
            capacity.append(("order_notional", int(c.max_order_notional / max(self._turnover(price), 1e-12))))
        if c.max_gross_notional is not None:
            used = s.others_gross + (abs(s.position) + resting[BID] + resting[ASK]) * mark
            capacity.append(
                ("gross_notional", int((c.max_gross_notional - used) / mark) if not math.isnan(used) else 0)
            )
        if c.max_net_notional is not None:
            sign = 1 if side == BID else -1
            used = sign * (s.others_net + s.position * mark) + resting[side] * mark
            left = int((c.max_net_notional - used) / mark) if not math.isnan(used) else 0
            capacity.append(("net_notional", left))
        return capacity
