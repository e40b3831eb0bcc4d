"""Contracts, book updates and trades as NautilusTrader's objects: the one place that knows both."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from typing import Any

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

from venues.contracts import Contract, expiry
from venues.errors import DataError
from venues.events import ASK, BID, BUY, NO_AGGRESSOR, SELL, Level, Trade

LAST = 128  # RecordFlag.F_LAST: closes a batch of deltas
_UPDATE, _DELETE = BookAction.UPDATE, BookAction.DELETE
_SIDES = {BID: OrderSide.BUY, ASK: OrderSide.SELL}
_AGGRESSORS = {BUY: AggressorSide.BUY, SELL: AggressorSide.SELL, NO_AGGRESSOR: AggressorSide.NO_AGGRESSOR}
_EIGHT_UTC_NS = 8 * 3_600 * 10**9  # crypto futures expire at 08:00 UTC
_INDEX_VENUES = frozenset({"CFFEX", "GLBX", "SGX", "SIM"})


class Units:
    """Converts integer ticks and lots of one contract to Nautilus prices and quantities."""

    def __init__(self, contract: Contract) -> None:
        self.price_precision = contract.price_precision
        self.size_precision = contract.size_precision
        self.tick_raw = Price(contract.tick, self.price_precision).raw
        self.lot_raw = Quantity(contract.lot, self.size_precision).raw
        self.price = cache(self._price)
        self.quantity = cache(self._quantity)

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


class DeltaMaker:
    """Builds Nautilus deltas and trades of one instrument."""

    def __init__(self, contract: Contract) -> None:
        self.instrument_id = InstrumentId.from_str(contract.id)
        self.units = Units(contract)

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


def instrument(contract: Contract, near: dt.date) -> Any:
    """The contract as a Nautilus instrument; `near` dates the recording (decade of an expiry code)."""
    terms, units = contract.terms, Units(contract)
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
