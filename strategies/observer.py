"""Who watches the maker: recorders, journals, stores, telemetry. They cost nothing where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np
from nautilus_trader.model import ClientOrderId, OrderBookDeltas, TradeTick
from numpy.typing import NDArray

from models.ensemble.predictor import Forecast
from strategies.decision import Decision, Inputs
from strategies.trading_state import Reason
from strategies.values import Action, Ladder, Market

type Answer = Literal["accepted", "amended", "refused", "gone", "kept"]
"""What an exchange says of an order: it rests, has another size, was not taken, rests no more, or stays as it was."""


class OwnFill(NamedTuple):
    """One fill of ours; `beyond_depth` when its order was placed beyond the depth that the feed shows."""

    ts_ns: int
    side: int
    price: int
    lots: int
    is_maker: bool
    beyond_depth: bool
    commission: Decimal
    trade_id: str
    order_id: str


class Observer:
    """What an observer may hear of; each overrides what it wants to know."""

    def on_book(self, deltas: OrderBookDeltas) -> None:
        """After each book update, when the maker has acted on it."""

    def on_trade(self, trade: TradeTick) -> None:
        """After each trade of the market."""

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        """After each sound book update; without a ladder where nothing may be quoted."""

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        """After each decision, before its actions go out; `features` hold until the next update."""

    def on_fill(self, fill: OwnFill) -> None:
        """After each fill of ours."""

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        """After actions went out."""

    def on_command(self, ts_ns: int, now_ns: int, key: ClientOrderId, action: Action) -> None:
        """As a command is given to the gateway: the update that it answers, and the time."""

    def on_answer(self, key: ClientOrderId, what: Answer, ts_event: int) -> None:
        """After the exchange has said what became of an order; `ts_event` is its own time."""

    def on_quoting(self, ts_ns: int, reason: str) -> None:
        """Quotes are taken away for a reason, or stand again ('')."""

    def on_decision_time(self, wall_ns: int) -> None:
        """After a decision: the time this machine took from book update to actions."""

    def on_halt(self, reason: Reason) -> None:
        """Quoting has ended for good."""


class Observers(Observer):
    """Several observers as one, told in the order in which they are given; each hears only what it overrides."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._all: list[Observer] = []
        for observer in observers:
            self.add(observer)

    def add(self, observer: Observer) -> None:
        """One more, told last."""
        self._all.append(observer)
        self._book = self._who("on_book")
        self._trade = self._who("on_trade")
        self._update = self._who("on_update")
        self._decided = self._who("on_decided")
        self._fill = self._who("on_fill")
        self._actions = self._who("on_actions")
        self._command = self._who("on_command")
        self._answer = self._who("on_answer")
        self._quoting = self._who("on_quoting")
        self._time = self._who("on_decision_time")
        self._halt = self._who("on_halt")

    def _who(self, name: str) -> list[Callable[..., None]]:
        plain = getattr(Observer, name)
        return [getattr(o, name) for o in self._all if getattr(type(o), name) is not plain]

    def on_book(self, deltas: OrderBookDeltas) -> None:
        for tell in self._book:
            tell(deltas)

    def on_trade(self, trade: TradeTick) -> None:
        for tell in self._trade:
            tell(trade)

    def on_update(
        self, ts_ns: int, market: Market, position: int, forecast: Forecast | None, ladder: Ladder | None
    ) -> None:
        for tell in self._update:
            tell(ts_ns, market, position, forecast, ladder)

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        for tell in self._decided:
            tell(ts_ns, features, inputs, decision)

    def on_fill(self, fill: OwnFill) -> None:
        for tell in self._fill:
            tell(fill)

    def on_actions(self, ts_ns: int, actions: list[Action]) -> None:
        for tell in self._actions:
            tell(ts_ns, actions)

    def on_command(self, ts_ns: int, now_ns: int, key: ClientOrderId, action: Action) -> None:
        for tell in self._command:
            tell(ts_ns, now_ns, key, action)

    def on_answer(self, key: ClientOrderId, what: Answer, ts_event: int) -> None:
        for tell in self._answer:
            tell(key, what, ts_event)

    def on_quoting(self, ts_ns: int, reason: str) -> None:
        for tell in self._quoting:
            tell(ts_ns, reason)

    def on_decision_time(self, wall_ns: int) -> None:
        for tell in self._time:
            tell(wall_ns)

    def on_halt(self, reason: Reason) -> None:
        for tell in self._halt:
            tell(reason)
