"""Our own record of fills and money (SQLite, write-ahead log): what a restart goes by, beside the venue's word.

A fill's trade id is its key: the stream may tell it twice, or after a crash the venue's list again,
and it counts once. Money is kept exactly, as decimal text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from market.contracts import Contract
from market.errors import ConfigError
from market.events import BID
from venues.live.account_client import VenueFill

_SCHEMA = """
CREATE TABLE IF NOT EXISTS fills (
    trade_id TEXT PRIMARY KEY, order_id TEXT NOT NULL, ts_ns INTEGER NOT NULL, side INTEGER NOT NULL,
    price INTEGER NOT NULL, lots INTEGER NOT NULL, is_maker INTEGER NOT NULL, commission TEXT NOT NULL,
    recovered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""


class DayState(msgspec.Struct):
    """Where the trading day's PnL counts from, and its highest so far."""

    date: str
    base: float
    peak: float


class Totals(msgspec.Struct, frozen=True):
    """Sums over all fills; `flow` is money in and out, commissions included."""

    position: int
    flow: Decimal
    commissions: Decimal
    fills: int


class Store:
    """One instrument's fills.

    Parameters
    ----------
    path : Path
    contract : Contract
        A linear contract: money is price x size.

    """

    def __init__(self, path: Path, contract: Contract) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing; a power cut the last moments
        self._db.executescript(_SCHEMA)
        self._unit = contract.terms.tick * contract.terms.lot * contract.terms.multiplier
        self._check_instrument(contract.id)

    def _check_instrument(self, instrument: str) -> None:
        known = self.get("instrument")
        if known is None:
            self.put("instrument", instrument)
        elif known != instrument:
            self.close()
            raise ConfigError(
                f"this store keeps the fills of {known}, not of {instrument}; set live.state to another folder"
            )

    def close(self) -> None:
        self._db.close()

    def add(
        self, trade_id: str, order_id: str, ts_ns: int, side: int, price: int, lots: int, maker: bool,
        commission: Decimal, recovered: bool = False,
    ) -> bool:  # fmt: skip
        """Keep a fill; return whether it is new."""
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (trade_id, order_id, ts_ns, side, price, lots, int(maker), format(commission, "f"), int(recovered)),
        )
        return cursor.rowcount == 1

    def recover(self, fills: Iterable[VenueFill]) -> list[VenueFill]:
        """Keep what the venue lists; return those that were not known."""
        with self._db:
            self._db.execute("BEGIN")
            return [
                f
                for f in fills
                if self.add(f.trade_id, f.link_id, f.ts_ns, f.side, f.price, f.lots, f.is_maker, f.commission, True)
            ]

    def totals(self) -> Totals:
        """Position and money from all fills, exactly."""
        position, flow, commissions, count = 0, Decimal(0), Decimal(0), 0
        for side, price, lots, commission in self._db.execute("SELECT side, price, lots, commission FROM fills"):
            signed = lots if side == BID else -lots
            position += signed
            cost = Decimal(commission)
            commissions += cost
            flow -= signed * price * self._unit + cost
            count += 1
        return Totals(position, flow, commissions, count)

    def last_fill_ns(self) -> int | None:
        """Time of the latest fill."""
        found: int | None = self._db.execute("SELECT MAX(ts_ns) FROM fills").fetchone()[0]
        return found

    def get(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value", (key, value)
        )

    def day(self) -> DayState | None:
        """The trading day that was under way."""
        text = self.get("day")
        return None if text is None else msgspec.json.decode(text, type=DayState)

    def put_day(self, day: DayState) -> None:
        self.put("day", msgspec.json.encode(day).decode())


class StoredFill(NamedTuple):
    """A fill as the store has it: price in ticks, commission as decimal text."""

    trade_id: str
    ts_ns: int
    side: int
    price: int
    lots: int
    is_maker: bool
    commission: str


def read_fills(path: Path) -> tuple[list[StoredFill], int]:
    """All fills of a store in order of time, and the position before the first one; the store is not touched.

    Raises
    ------
    ConfigError
        It is no store, or damaged.

    """
    rows = "SELECT trade_id, ts_ns, side, price, lots, is_maker, commission FROM fills ORDER BY ts_ns, trade_id"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            fills = [StoredFill(*row)._replace(is_maker=bool(row[5])) for row in db.execute(rows)]
            start = db.execute("SELECT value FROM meta WHERE key = 'start_position'").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: the store of fills cannot be read: {error}") from error
    return fills, int(start[0]) if start is not None else 0
