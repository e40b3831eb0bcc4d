"""Contracts, book updates and trades as NautilusTrader's objects: the one place that knows both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from nautilus_trader.model import (
    AggressorSide,
    AssetClass,
    BookAction,
    BookOrder,
    CryptoFuture,
    CryptoPerpetual,
    Currency,
    CurrencyPair,
    Equity,
    FuturesContract,
    InstrumentId,
    OrderBookDelta,
    OrderBookDeltas,
    OrderSide,
    Price,
    Quantity,
    Symbol,
    TradeId,
    TradeTick,
)
from numpy.typing import NDArray

from market.contracts import Contract, expiry
from market.errors import DataError
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Level, Trade

_ROWS = 4096

LAST = 128  # RecordFlag.F_LAST: closes a batch of deltas
_UPDATE, _DELETE = BookAction.UPDATE, BookAction.DELETE
_SIDES = {BID: OrderSide.BUY, ASK: OrderSide.SELL}
_AGGRESSORS = {BUY: AggressorSide.BUY, SELL: AggressorSide.SELL, NO_AGGRESSOR: AggressorSide.NO_AGGRESSOR}
_EIGHT_UTC_NS = 8 * 3_600 * 10**9  # crypto futures expire at 08:00 UTC
_INDEX_VENUES = frozenset({"CFFEX", "GLBX", "SGX", "SIM"})


type NautilusInstrument = CryptoFuture | CryptoPerpetual | CurrencyPair | Equity | FuturesContract


class Instrument:
    """One contract as everybody needs it who meets Nautilus: its id, its units, the depth that its feed shows.

    Nautilus keeps prices and sizes as integers of a fixed point ("raw"); a tick and a lot are `tick_raw` and
    `lot_raw` of them.

    Parameters
    ----------
    contract : Contract
    depth : int
        Levels a side that the feed shows, 0 for the whole book.

    """

    def __init__(self, contract: Contract, depth: int = 0) -> None:
        self.id = contract.id
        self.depth = depth
        self.price_precision = contract.price_precision
        self.size_precision = contract.size_precision
        self.tick_raw = Price(contract.tick, self.price_precision).raw
        self.lot_raw = Quantity(contract.lot, self.size_precision).raw
        self.price = cache(self._price)
        self.quantity = cache(self._quantity)

    def ticks(self, price: Price) -> int:
        """A Nautilus price in ticks."""
        return int(price.raw // self.tick_raw)

    def lots(self, quantity: Quantity) -> int:
        """A Nautilus quantity in lots."""
        return int(quantity.raw // self.lot_raw)

    def _price(self, ticks: int) -> Price:
        try:
            return Price.from_raw(ticks * self.tick_raw, self.price_precision)
        except (ValueError, OverflowError) as error:
            raise DataError(f"a price of {ticks:,} ticks is more than Nautilus can hold") from error

    def _quantity(self, lots: int) -> Quantity:
        try:
            return Quantity.from_raw(lots * self.lot_raw, self.size_precision)
        except (ValueError, OverflowError) as error:
            raise DataError(f"a size of {lots:,} lots is more than Nautilus can hold") from error


class Checked(NamedTuple):
    """An update as (side, price in ticks, lots), whether the book is emptied first, how many levels were left out for
    a price off the tick, and how many sizes were no whole lots."""

    levels: list[Level]
    clear: bool
    off_tick: int
    rounded: int


class Decoder:
    """Turns Nautilus' book updates and trades into integers."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.changes = np.zeros((_ROWS, 3), np.int64)

    def book(self, deltas: OrderBookDeltas) -> tuple[NDArray[np.int64], int, bool]:
        """Rows (side, price in ticks, lots), how many of them hold, and whether the book is emptied first.

        The rows are overwritten by the next update.
        """
        rows = deltas.deltas
        if len(rows) > len(self.changes):
            self.changes = np.zeros((2 * len(rows), 3), np.int64)
        tick, lot = self.instrument.tick_raw, self.instrument.lot_raw
        clear, n, changes = False, 0, self.changes
        for delta in rows:
            if delta.is_clear:
                clear, n = True, 0
                continue
            order = delta.order
            size = 0 if delta.is_delete else order.size.raw // lot
            changes[n] = (BID if order.side == OrderSide.BUY else ASK, order.price.raw // tick, size)
            n += 1
        return changes, n, clear

    def levels(self, deltas: OrderBookDeltas) -> tuple[list[Level], bool]:
        """The same as a list of (side, price in ticks, lots) that the caller may keep."""
        changes, n, clear = self.book(deltas)
        return [(side, price, size) for side, price, size in changes[:n].tolist()], clear

    def checked(self, deltas: OrderBookDeltas) -> Checked:
        """The same, where a venue may have changed its steps unseen: what lies off the grid is not rounded to it."""
        tick, lot = self.instrument.tick_raw, self.instrument.lot_raw
        levels: list[Level] = []
        clear, off_tick, rounded = False, 0, 0
        for delta in deltas.deltas:
            if delta.is_clear:
                clear, levels = True, []
                continue
            order = delta.order
            price, beside = divmod(order.price.raw, tick)
            if beside:
                off_tick += 1
                continue
            size, rest = (0, 0) if delta.is_delete else divmod(order.size.raw, lot)
            if rest:
                size, rounded = max(size, 1), rounded + 1
            levels.append((BID if order.side == OrderSide.BUY else ASK, price, size))
        return Checked(levels, clear, off_tick, rounded)

    def is_on_grid(self, trade: TradeTick) -> bool:
        """Whether a trade's price is a whole number of ticks, and its size one of lots."""
        return not (trade.price.raw % self.instrument.tick_raw or trade.size.raw % self.instrument.lot_raw)

    def trade(self, trade: TradeTick) -> tuple[int, int, int]:
        """Price in ticks, lots, and aggressor (BUY, SELL or NO_AGGRESSOR) of a trade."""
        side = trade.aggressor_side
        aggressor = BUY if side == AggressorSide.BUY else SELL if side == AggressorSide.SELL else NO_AGGRESSOR
        return trade.price.raw // self.instrument.tick_raw, trade.size.raw // self.instrument.lot_raw, aggressor


def owners(deltas: OrderBookDeltas) -> list[int]:
    """Ids of the orders that changed the levels of an update, in the order of its rows (L3)."""
    return [delta.order.order_id for delta in deltas.deltas if not delta.is_clear]


class DeltaMaker:
    """Builds Nautilus deltas and trades of one instrument."""

    def __init__(self, contract: Contract) -> None:
        self.instrument_id = InstrumentId.from_str(contract.id)
        self.units = Instrument(contract)

    def deltas(
        self,
        changes: Sequence[Level],
        sequence: int,
        ts_event: int,
        ts_init: int,
        clear: bool = False,
        owners: Sequence[int] = (),
    ) -> list[OrderBookDelta]:
        """One batch; its last delta carries the flag that closes it.

        `owners` are ids of the orders that changed the levels (L3). Nautilus' level books take no
        notice of an order id, which carries them to a queue model.
        """
        batch = [OrderBookDelta.clear(self.instrument_id, sequence, ts_event, ts_init)] if clear else []
        instrument_id, to_price, to_quantity = self.instrument_id, self.units.price, self.units.quantity
        left = len(changes)
        for (side, price, size), owner in zip(changes, owners or [level[1] for level in changes], strict=True):
            left -= 1
            order = BookOrder(_SIDES[side], to_price(price), to_quantity(size), owner)
            action, flags = _UPDATE if size else _DELETE, 0 if left else LAST
            batch.append(OrderBookDelta(instrument_id, action, order, flags, sequence, ts_event, ts_init))
        return batch

    def trade(self, trade: Trade, sequence: int, ts_init: int) -> TradeTick:
        return TradeTick(
            self.instrument_id,
            self.units.price(trade.price),
            self.units.quantity(trade.size),
            _AGGRESSORS[trade.aggressor],
            TradeId(str(sequence)),
            trade.ts_event,
            ts_init,
        )


def batches(deltas: Sequence[OrderBookDelta]) -> list[OrderBookDeltas]:
    """Group deltas of one instrument into the atomic updates that their flags close."""
    whole, first = [], 0
    for index, delta in enumerate(deltas):
        if delta.flags & LAST:
            whole.append(OrderBookDeltas(delta.instrument_id, list(deltas[first : index + 1])))
            first = index + 1
    return whole


def nautilus_instrument(contract: Contract, near: dt.date) -> NautilusInstrument:
    """The contract as a Nautilus instrument; `near` dates the recording (decade of an expiry code)."""
    terms, units = contract.terms, Instrument(contract)
    ids = (InstrumentId.from_str(contract.id), Symbol(contract.symbol))
    tick, lot = units.price(1), units.quantity(1)
    quote = Currency.from_str(terms.currency)
    margin: dict[str, Any] = {"margin_init": Decimal("0.1"), "margin_maint": Decimal("0.05")}
    if terms.kind == "future":
        end = expiry(contract.symbol, near)
        end_ns = int(dt.datetime.combine(end, dt.time(), dt.UTC).timestamp()) * 10**9
        if terms.base:
            margin["multiplier"] = Quantity.from_str(str(terms.multiplier))
            return CryptoFuture(
                *ids,
                Currency.from_str(terms.base),
                Currency.from_str("USD") if terms.inverse else quote,
                quote,
                terms.inverse,
                0,
                end_ns + _EIGHT_UTC_NS,
                contract.price_precision,
                contract.size_precision,
                tick,
                lot,
                0,
                0,
                **margin,
            )
        asset = AssetClass.INDEX if contract.exchange in _INDEX_VENUES else AssetClass.COMMODITY
        multiplier = Quantity.from_str(str(terms.multiplier))
        return FuturesContract(
            *ids,
            asset,
            terms.product,
            0,
            end_ns,
            quote,
            contract.price_precision,
            tick,
            multiplier,
            lot,
            0,
            0,
            **margin,
        )
    if terms.kind == "equity":
        return Equity(*ids, quote, contract.price_precision, tick, 0, 0, **margin)
    base = Currency.from_str(terms.base)
    grid: tuple[Any, ...] = (contract.price_precision, contract.size_precision, tick, lot, 0, 0)
    if terms.kind == "perpetual":
        if terms.inverse:
            margin["multiplier"] = Quantity.from_str(str(terms.multiplier))
            return CryptoPerpetual(*ids, base, Currency.from_str("USD"), quote, True, *grid, **margin)
        return CryptoPerpetual(*ids, base, quote, quote, False, *grid, **margin)
    return CurrencyPair(*ids, base, quote, *grid, **margin)
