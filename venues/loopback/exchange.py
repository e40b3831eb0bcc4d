"""What all rooms of the loopback exchange share: the engine with its contract and account, the clock, the faults."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal

from market.events import ASK, BID
from venues.loopback.engine import MatchingEngine
from venues.loopback.faults import Faults
from venues.loopback.orders import Terms
from venues.loopback.requests import CATEGORY, Request

NS_PER_MS = 1_000_000


class Exchange:
    """An exchange without its network.

    Parameters
    ----------
    terms : Terms
    cash : Decimal
        Of the one account at the start.
    orders_per_s : int
        Rate limit of order commands.

    """

    def __init__(self, terms: Terms, cash: Decimal, orders_per_s: int) -> None:
        self.faults = Faults()
        self.orders_per_s = orders_per_s
        self.wall: Callable[[], int] = time.time_ns
        """The machine's clock, ns."""
        self.engine = MatchingEngine(terms, cash, self.now_ns)
        self.leverage = "10"
        self.is_serving = False
        self.on_command: Callable[[str, int], None] = lambda _op, _at: None
        """Hears of each order command as it comes in, with the machine's time."""

    @property
    def terms(self) -> Terms:
        return self.engine.terms

    def now_ns(self) -> int:
        """The exchange's clock."""
        return self.wall() + round(self.faults.clock_skew_s * 1e9)

    def now_ms(self) -> int:
        return self.now_ns() // NS_PER_MS

    def is_ours(self, request: Request) -> bool:
        """Whether a request is about the one contract that is listed here, or about all."""
        return request.category == CATEGORY and request.symbol in (None, "", self.terms.symbol)

    def shown(self, side: int, depth: int) -> dict[int, int]:
        """Levels as the public sees them: lots by price, best first."""
        levels = self.engine.top(side, depth)
        if self.faults.one_sided and side == ASK:
            return {}
        if self.faults.cross_book and side == BID and (ask := self.engine.best(ASK)) is not None:
            levels = {ask + 5: 7, **levels}
        return levels
