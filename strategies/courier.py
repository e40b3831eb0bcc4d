"""Carries the maker's commands to the venue: at once, or over a simulated link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from strategies.link import Link
from strategies.values import Kind
from strategies.working import WorkingOrders

type Command = tuple[Kind, Any, Any]
"""What to do, the order (a new one, or the client id of one), its new total quantity."""


class Courier:
    """Commands on their way.

    Parameters
    ----------
    strategy : nautilus_trader.trading.Strategy
        Submits, amends and cancels.
    orders : WorkingOrders
    link : Link or None
        Of a simulated venue; without one commands go out at once.
    counts : Counter
        `too_late` counts commands for orders that were gone when they arrived.
    guard : callable
        Called with an exception that a late delivery raised.

    """

    def __init__(
        self,
        strategy: Any,
        orders: WorkingOrders,
        link: Link | None,
        counts: Counter[str],
        guard: Callable[[Exception], None],
    ) -> None:
        self._strategy, self._orders, self._link, self._counts, self._guard = strategy, orders, link, counts, guard
        self._held: list[Any] = []  # cancels that wait for the end of an interval
        self._alerts = 0
        self.sent = 0
        """Commands handed to the venue."""

    def send(self, commands: list[Command]) -> None:
        """Send commands decided now."""
        if self._link is None:
            self._deliver(commands)
            return
        now = self._strategy.clock.timestamp_ns()
        at = self._link.arrival_ns(now)
        if at <= now:
            self._deliver(commands)
            return
        self._alerts += 1
        self._strategy.clock.set_time_alert_ns(f"arrive-{self._alerts}", at, lambda _: self._arrive(commands))

    def interval_ended(self) -> None:
        """The venue has told of an interval: cancels that arrived in it take effect."""
        held, self._held = self._held, []
        for key in held:
            if self._orders.get(key) is not None:
                self.sent += 1
                self._strategy.cancel_order(key)

    def _arrive(self, commands: list[Command]) -> None:
        if self._strategy.failure is not None:
            return
        try:
            self._deliver(commands)
        except Exception as error:
            self._guard(error)

    def _deliver(self, commands: list[Command]) -> None:
        """Commands reach the venue; what has filled on the way is past cancelling."""
        for kind, target, quantity in commands:
            if kind == Kind.PLACE:
                self.sent += 1
                self._strategy.submit_order(target)
            elif self._orders.get(target) is None:
                self._counts["too_late"] += 1
            elif kind == Kind.AMEND:
                known = self._strategy.cache.order(target)
                if known is not None and known.filled_qty < quantity:
                    self.sent += 1
                    self._strategy.modify_order(target, quantity=quantity)
                else:  # more has filled than the order was to have at all
                    self._cancel(target)
            else:
                self._cancel(target)

    def _cancel(self, key: Any) -> None:
        if self._link is not None and self._link.snapshots:
            self._link.leaving(key, self._strategy.clock.timestamp_ns())
            self._held.append(key)
        else:
            self.sent += 1
            self._strategy.cancel_order(key)
