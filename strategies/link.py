"""The way from the maker to a simulated venue: how long commands take, and what the venue does with them."""

from __future__ import annotations

from typing import Any, Protocol


class Link(Protocol):
    """Stands between maker and venue in a simulation; live there is none, commands go out at once."""

    snapshots: bool
    """The feed tells of an interval at its end: a cancel that arrives within one takes effect with it,
    after the trades that came before the cancel."""

    def delivered(self) -> None:
        """The venue has processed one more event of the market, and the maker is told of it."""

    def arrival_ns(self, now_ns: int) -> int:
        """When commands decided now reach the venue; never before those decided earlier."""

    def accepted(self, key: Any, side: int, price: int, lots: int, now_ns: int) -> None:
        """An order rests (price in ticks)."""

    def leaving(self, key: Any, now_ns: int) -> None:
        """A cancel has reached the venue and waits for the end of the interval."""

    def resized(self, key: Any, left: int) -> None:
        """An order has been amended to `left` lots, keeping its place."""

    def gone(self, key: Any) -> None:
        """An order rests no more."""
