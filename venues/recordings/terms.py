"""Contract terms of one recording: looked up once an instrument, by the recording's own day."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from market.contracts import Contract, ContractTable
from market.errors import DataError
from market.sessions import SessionClock


class RecordingTerms:
    """Hands the same terms of an instrument to everybody who reads or writes a recording.

    Terms change at dates (a tick was made coarser, a multiplier halved): prices counted in one tick and
    written in another would be wrong by their ratio. The day is the trading day of the first row.
    """

    def __init__(self, table: ContractTable) -> None:
        self._table = table
        self._known: dict[str, Contract] = {}

    def find(self, exchange: str | None, symbol: str, ts_ns: int, day: int = 0) -> Contract | None:
        """Terms at a row's arrival time, or on its trading day where that is stated (YYYYMMDD); None if unknown."""
        date = as_date(day) if day else dt.datetime.fromtimestamp(ts_ns // 10**9, dt.UTC).date()
        found = self._table.find(exchange, symbol, date)
        if found is not None and not day:
            found = self._table.find(exchange, symbol, SessionClock(found.sessions).trading_day(ts_ns))
        return self._known.setdefault(found.id, found) if found is not None else None

    def peek(self, exchange: str | None, symbol: str, date: dt.date) -> Contract | None:
        """Terms on a date, handed to nobody yet: a file may not name the exchange, or the trading day."""
        return self._table.find(exchange, symbol, date)

    def need(self, exchange: str, symbol: str, ts_ns: int, path: Path) -> Contract:
        """The same; raises where the table has no terms."""
        found = self.find(exchange, symbol, ts_ns)
        if found is None:
            raise no_terms(exchange, symbol, path)
        return found

    def of(self, instrument_id: str, ts_ns: int, day: int = 0) -> Contract:
        """The terms that were handed out for an id; looked up where nobody has asked yet."""
        if instrument_id not in self._known:
            symbol, _, exchange = instrument_id.rpartition(".")
            if self.find(exchange, symbol, ts_ns, day) is None:
                self._table.by_id(instrument_id)  # says what to do
        return self._known[instrument_id]

    def check(self, contract: Contract, date: dt.date) -> None:
        """Raise where another trading day of the recording has another tick, lot or multiplier."""
        now = self._table.by_id(contract.id, date).terms
        had = contract.terms
        if (now.tick, now.lot, now.multiplier) != (had.tick, had.lot, had.multiplier):
            raise DataError(
                f"{contract.id}: its terms change on {date} within this recording (tick {had.tick} becomes {now.tick}, "
                f"lot {had.lot} {now.lot}, multiplier {had.multiplier} {now.multiplier}); "
                "split its files there and import the parts apart"
            )


def no_terms(exchange: str, symbol: str, path: Path) -> DataError:
    """Say which row of the contract table a file needs."""
    return DataError(
        f"{path}: no contract terms for {symbol} on {exchange}; add a row {{exchange: {exchange}, product: {symbol}, "
        "…}, as in market/contracts.yaml, to a file named under data.contracts"
    )


def as_date(yyyymmdd: int) -> dt.date:
    """A trading day written as a number; raises `DataError` where that is no date."""
    try:
        return dt.date(yyyymmdd // 10_000, yyyymmdd // 100 % 100, yyyymmdd % 100)
    except ValueError as error:
        raise DataError(f"{yyyymmdd} is not a trading day YYYYMMDD") from error
