"""The out-of-band account client: few calls to a venue, apart from the trading connection, that decide nothing.

The trading process may be wrong about itself; this client asks the venue. It reads the account, cancels
everything, sets the dead man's switch and, if asked to, flattens.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec


class AccountClientError(Exception):
    """The venue did not answer, or refused: what was asked for is unknown, not undone."""


class RestingOrder(msgspec.Struct, frozen=True):
    """An order that rests at the venue, in ticks and lots."""

    order_id: str
    link_id: str
    side: int
    price: int
    left: int


class VenueFill(msgspec.Struct, frozen=True):
    """A fill as the venue has it, in ticks and lots."""

    trade_id: str
    link_id: str
    side: int
    price: int
    lots: int
    is_maker: bool
    commission: Decimal
    ts_ns: int


class VenuePosition(msgspec.Struct, frozen=True):
    """A position in any instrument of the account; `notional` is signed."""

    symbol: str
    size: Decimal
    notional: Decimal


class VenueTerms(msgspec.Struct, frozen=True):
    """What the venue says of the instrument."""

    tick: Decimal
    lot: Decimal
    status: str


class AccountClient(Protocol):
    """A connection to one account, bound to one instrument."""

    async def clock_offset_ms(self) -> float:
        """The venue's clock minus ours, the best of a few tries."""

    async def terms(self) -> VenueTerms:
        """Steps of price and size, trading status."""

    async def fees(self) -> tuple[Decimal, Decimal]:
        """Maker and taker fee of the account, fractions of turnover."""

    async def balance(self) -> Decimal:
        """Wallet balance in settlement currency."""

    async def mid_ticks(self) -> float | None:
        """Mid price; None while the book is one-sided, empty or crossed, which is an answer too."""

    async def open_orders(self) -> list[RestingOrder]:
        """Everything that rests in the instrument."""

    async def position_lots(self) -> int:
        """Net position in the instrument."""

    async def positions(self) -> list[VenuePosition]:
        """All positions of the account."""

    async def fills(self, since_ns: int) -> list[VenueFill]:
        """Fills in the instrument from a time on, oldest first."""

    async def cancel_all(self) -> None:
        """Cancel everything in the instrument."""

    async def set_dead_man(self, window_s: int) -> None:
        """The venue is to cancel everything when the lifeline is down for so long."""

    async def flatten(self, lots: int, limit: int) -> None:
        """Close `lots` (signed position) by an immediate-or-cancel order that goes no further than a price."""

    async def close(self) -> None:
        """Close the connection."""
