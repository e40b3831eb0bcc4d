"""Contract terms: tick, lot, multiplier, fees and sessions, read from one table (contracts.yaml)."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from market.errors import DataError
from market.valuation import Valuation

_TABLES = [Path(__file__).with_name(name) for name in ("contracts.yaml", "holidays.yaml")]
_ANY = "*"
_BOTH_SIDES = frozenset({"CFFEX", "SHFE", "INE", "DCE", "CZCE", "GFEX"})
_BY_CHOICE = frozenset({"SHFE", "INE"})
_FUTURE = re.compile(r"([A-Za-z]+)(\d{3,4})$")
_DATED = re.compile(r"(.+[_-])(\d{6})$")


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Maker and taker fees from a turnover on (settlement currency, over the exchange's window)."""

    turnover: float
    maker: float
    taker: float


class Fees(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a fill costs: fractions of turnover plus amounts a lot (quote currency).

    `close_today` is charged where a fill closes a position opened on the same trading day; it
    and `close` default to `maker`. Negative values are rebates. `tiers`, by rising turnover, replace
    `maker` and `taker`.
    """

    maker: float = 0.0
    taker: float = 0.0
    close: float | None = None
    close_today: float | None = None
    lot_open: float = 0.0
    lot_close: float = 0.0
    lot_close_today: float | None = None
    tiers: list[Tier] = []


class Sessions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Trading hours in local time; an empty list means around the clock, day by UTC date.

    Intervals are "HH:MM-HH:MM". A night session starts at or after 18:00 and belongs to the next
    trading day; it may end after midnight ("21:00-02:30"). `holidays` names a calendar of the table, whose
    days are put into `closed` (no session) and `early` (when the day's last session ends).
    """

    timezone: str = "UTC"
    hours: list[str] = []
    holidays: str = ""
    closed: list[dt.date] = []
    early: dict[dt.date, str] = {}


class Holidays(msgspec.Struct, forbid_unknown_fields=True):
    """Weekdays on which an exchange is closed, and those on which it closes early ("HH:MM")."""

    closed: list[dt.date] = []
    early: dict[dt.date, str] = {}


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table. An `inverse` contract is worth `multiplier` of the price's currency a lot
    and settles in `currency`, the coin: its PnL is in coin."""

    exchange: str
    product: str
    kind: Literal["future", "perpetual", "spot", "equity"]
    currency: str
    tick: Decimal
    lot: Decimal = Decimal(1)
    multiplier: Decimal = Decimal(1)
    inverse: bool = False
    base: str = ""
    sessions: str = "continuous"
    fees: Fees = Fees()
    until: dt.date | None = None
    name: str = ""


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    sessions: dict[str, Sessions] = {}
    holidays: dict[str, Holidays] = {}
    contracts: list[Terms] = []


class Contract(msgspec.Struct, frozen=True, dict=True, kw_only=True):
    """An instrument with its terms. `id` is Nautilus' form, e.g. `IF2101.CFFEX`."""

    id: str
    symbol: str
    exchange: str
    terms: Terms
    sessions: Sessions

    @cached_property
    def tick(self) -> float:
        return float(self.terms.tick)

    @cached_property
    def lot(self) -> float:
        return float(self.terms.lot)

    @cached_property
    def price_precision(self) -> int:
        return _decimals(self.terms.tick)

    @cached_property
    def size_precision(self) -> int:
        return _decimals(self.terms.lot)

    @cached_property
    def value_per_tick_lot(self) -> float:
        """Money that one lot of a linear contract gains when the price rises by one tick."""
        return float(self.terms.tick * self.terms.lot * self.terms.multiplier)

    @cached_property
    def mark_value(self) -> Valuation:
        """Value of one lot held long at a price, up to a constant, in settlement currency."""
        if self.terms.inverse:
            return Valuation(float(self.terms.lot * self.terms.multiplier / self.terms.tick), inverse=True)
        return Valuation(self.value_per_tick_lot)

    def turnover(self, ticks: float) -> float:
        """What trading one lot at a price moves, settlement currency."""
        return self.mark_value.turnover(ticks)

    @property
    def keeps_both_sides(self) -> bool:
        """Whether long and short positions stand beside each other: a fill may open instead of close."""
        return self.exchange in _BOTH_SIDES

    @property
    def closes_by_choice(self) -> bool:
        """Whether an order says that it closes today's position; else the oldest is closed first."""
        return self.exchange in _BY_CHOICE

    def ticks(self, price: float) -> int | None:
        """Price in ticks, or None when it does not lie on the grid (tolerance 1e-3 tick)."""
        exact = price / self.tick
        if not math.isfinite(exact):
            return None
        ticks = round(exact)
        return ticks if abs(exact - ticks) < 1e-3 + 1e-12 * abs(exact) else None

    def lots(self, size: float) -> int | None:
        """Size in lots, or None when it is not a whole number of lots."""
        exact = size / self.lot
        if not math.isfinite(exact):
            return None
        lots = round(exact)
        return lots if abs(exact - lots) < 1e-3 + 1e-12 * abs(exact) else None


class ContractTable:
    """Looks up terms by exchange and symbol; later files override the built-in table."""

    def __init__(self, extra: Sequence[Path] = ()) -> None:
        sessions: dict[str, Sessions] = {"continuous": Sessions()}
        calendars: dict[str, Holidays] = {}
        self._rows: list[Terms] = []
        for path in (*_TABLES, *extra):
            table = _read(path)
            sessions.update(table.sessions)
            for name, days in table.holidays.items():
                known = calendars.setdefault(name, Holidays())
                known.closed, known.early = known.closed + days.closed, known.early | days.early
            self._rows = table.contracts + self._rows
        self._sessions = {name: _with_holidays(name, s, calendars) for name, s in sessions.items()}
        for row in self._rows:
            if row.sessions not in self._sessions:
                raise DataError(
                    f"contract {row.exchange}.{row.product}: unknown sessions {row.sessions!r}; "
                    f"known are {', '.join(sorted(self._sessions))}"
                )

    def find(self, exchange: str | None, symbol: str, date: dt.date | None = None) -> Contract | None:
        """Return the contract, or None when the table has no terms for it.

        `exchange` None looks in every exchange: CTP captures of some vendors do not name it. Rows for a
        range of codes (`6NNNNN`) or for all (`*`) need it: the same code means another thing elsewhere.
        Without a `date` the terms of today hold.
        """
        product = _product(symbol)
        for row in self._rows:
            if exchange is not None and row.exchange != exchange:
                continue
            if row.product != (product if row.kind == "future" else symbol) and (
                exchange is None or not (row.product == _ANY or _is_in_range(symbol, row.product))
            ):
                continue
            if row.until is not None and (date is None or date >= row.until):
                continue
            return self._contract(row, symbol)
        return None

    def by_id(self, instrument_id: str, date: dt.date | None = None) -> Contract:
        """Return the contract of an id as `IF2101.CFFEX` or, CTP's way, `CFFEX.IF2101`."""
        left, _, right = instrument_id.rpartition(".")
        found = self.find(right, left, date) or self.find(left, right, date)
        if found is None:
            raise DataError(
                f"unknown instrument {instrument_id}: the contract table has no terms for it; "
                "add a row (see market/contracts.yaml) to a file named under `data.contracts`"
            )
        return found

    def _contract(self, row: Terms, symbol: str) -> Contract:
        return Contract(
            id=f"{symbol}.{row.exchange}",
            symbol=symbol,
            exchange=row.exchange,
            terms=row,
            sessions=self._sessions[row.sessions],
        )


def expiry(symbol: str, near: dt.date) -> dt.date:
    """Last day of a future, from its code; `near` gives the decade.

    `BTCUSDT_240927` names the day itself, `IF2101` and `TA205` the delivery month, whose end it is.
    """
    dated, match = _DATED.match(symbol), _FUTURE.match(symbol)
    try:
        if dated is not None:
            return dt.datetime.strptime(dated.group(2), "%y%m%d").date()
    except ValueError as error:
        raise DataError(f"{symbol}: {dated.group(2) if dated else ''} is no date YYMMDD") from error
    if match is None:
        return near.replace(year=near.year + 10, day=1)
    digits = match.group(2)
    if len(digits) == 4:
        year = 2000 + int(digits[:2])
    else:
        year = near.year - near.year % 10 + int(digits[0])
        year += 10 if year < near.year else 0
    month = int(digits[-2:])
    if not 1 <= month <= 12:
        raise DataError(f"{symbol}: {month} is no delivery month")
    return dt.date(year + month // 12, month % 12 + 1, 1)


def _product(symbol: str) -> str:
    """What a future's code is called in the table: `IF2101` is IF, `BTCUSDT_240927` BTCUSDT_YYMMDD."""
    if match := _FUTURE.match(symbol):
        return match.group(1)
    if match := _DATED.match(symbol):
        return f"{match.group(1)}YYMMDD"
    return symbol


def _is_in_range(symbol: str, product: str) -> bool:
    """Whether a code of digits is one of a row for many (`6NNNNN`)."""
    digits = product.rstrip("N")
    return product != digits and len(symbol) == len(product) and symbol.isdigit() and symbol.startswith(digits)


def _with_holidays(name: str, sessions: Sessions, calendars: dict[str, Holidays]) -> Sessions:
    if not sessions.holidays:
        return sessions
    days = calendars.get(sessions.holidays)
    if days is None:
        raise DataError(
            f"sessions {name}: unknown holidays {sessions.holidays!r}; known are {', '.join(sorted(calendars))}"
        )
    return msgspec.structs.replace(sessions, closed=sessions.closed + days.closed, early=days.early | sessions.early)


def _decimals(value: Decimal) -> int:
    return max(0, -int(value.normalize().as_tuple().exponent))


def _read(path: Path) -> _Table:
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), _Table, strict=False)
    except OSError as error:
        raise DataError(f"{path}: cannot read the contract table: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error
