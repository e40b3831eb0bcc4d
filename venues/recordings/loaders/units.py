"""Prices, sizes and times as files write them, in the units of the schema: one rule for all loaders."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo

from market.contracts import Contract
from market.errors import DataError
from market.events import ASK, BID, Level
from market.sessions import wall_ns

_CACHE = 100_000
_MAX_PRICE = 1.7e13
_MAX_SIZE = 3.4e13
_MAX_COUNT = 1 << 62
"""What Nautilus' fixed-point prices and quantities, and 64 bits, can hold."""
_FIRST_S, _LAST_S = 631_152_000, 4_102_444_800
"""1990 and 2100: what a stamp in seconds lies between; those of other units then cannot be mistaken."""
_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_HOUR_NS = 3_600 * _NS["s"]
_SPANS = [(_FIRST_S * _NS["s"] // ns, _LAST_S * _NS["s"] // ns, ns) for ns in _NS.values()]


class Grid:
    """A contract's grid of ticks and lots, for the words of a file.

    A price off the tick is left out and counted (`off_tick`); a size off the lot is rounded and counted
    (`size_rounded_to_lot`): it stood before the lot was made coarser.
    """

    def __init__(self, contract: Contract, counts: Counter[str]) -> None:
        self.contract, self.counts = contract, counts
        self._prices: dict[str | float, int | None] = {}
        self._lot = contract.lot

    def level(self, side: int, price: str | float, size: str | float) -> Level | None:
        """A level in ticks and lots; None when its price is off the tick.

        Raises
        ------
        ValueError
            A word is no number.
        DataError
            The price is zero or below, or too large.

        """
        ticks = self._prices[price] if price in self._prices else self._ticks(price)
        value = float(size)
        exact = value / self._lot
        lots = round(exact) if 0.0 <= exact < _MAX_COUNT else -1
        if abs(exact - lots) >= 1e-3 or (lots == 0 and value):
            lots = self._odd_lots(value, size)
        if ticks is None:
            self.counts["off_tick"] += 1
            return None
        if ticks <= 0:
            if lots == 0:
                return None  # a side that is empty
            raise self._not_positive(price)
        return side, ticks, lots

    def levels(self, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> list[Level]:
        """Levels of the rows (price, size, …) of both sides of a message, as `level` reads them."""
        found: list[Level] = []
        prices, lot, level = self._prices, self._lot, self.level
        for side, rows in ((BID, bids), (ASK, asks)):
            for row in rows:
                ticks, exact = prices.get(row[0]), float(row[1]) / lot
                lots = round(exact) if 0.0 <= exact < _MAX_COUNT else -1
                if ticks is not None and ticks > 0 and abs(exact - lots) < 1e-3 and (lots or not exact):
                    found.append((side, ticks, lots))
                elif (other := level(side, row[0], row[1])) is not None:
                    found.append(other)
        return found

    def snapshot(self, rows: Iterable[tuple[int, str | float, str | float]]) -> list[Level] | None:
        """Levels of a row that shows a whole book; None where a price is off the tick (counted once: without
        that level it would be another book)."""
        before = self.counts["off_tick"]
        levels = [level for row in rows if (level := self.level(*row)) is not None]
        if self.counts["off_tick"] == before:
            return levels
        self.counts["off_tick"] = before + 1
        return None

    def shown(self, bids: Iterable[Sequence[str]], asks: Iterable[Sequence[str]]) -> list[Level] | None:
        """Levels of a message that shows a whole book, rows (price, size, …) of both sides; None as `snapshot`."""
        return self.snapshot((side, row[0], row[1]) for side, rows in ((BID, bids), (ASK, asks)) for row in rows)

    def ticks(self, price: str | float) -> int | None:
        """A price in ticks; None, counted, when it is off the tick."""
        ticks = self._prices[price] if price in self._prices else self._ticks(price)
        if ticks is None:
            self.counts["off_tick"] += 1
        elif ticks <= 0:
            raise self._not_positive(price)
        return ticks

    def lots(self, size: str | float) -> int:
        """A size in whole lots, at least one where there is any."""
        value = float(size)
        exact = value / self._lot
        lots = round(exact) if 0.0 <= exact < _MAX_COUNT else -1
        return lots if abs(exact - lots) < 1e-3 and (lots or not value) else self._odd_lots(value, size)

    def _odd_lots(self, value: float, size: str | float) -> int:
        """Lots of a size that is no whole number of them, to the precision of a float."""
        if not 0 <= value <= _MAX_SIZE or value / self._lot > _MAX_COUNT:
            raise DataError(f"{self.contract.id}: {size} is no size")
        lots = self.contract.lots(value)
        if lots:
            return lots
        self.counts["size_rounded_to_lot"] += 1
        return max(1, int(value / self._lot))

    def _ticks(self, price: str | float) -> int | None:
        value = float(price)
        ticks = self.contract.ticks(value)
        if not abs(value) <= _MAX_PRICE or abs(ticks or 0) > _MAX_COUNT:
            raise DataError(f"{self.contract.id}: {price} is no price")
        if len(self._prices) >= _CACHE:
            self._prices.clear()
        self._prices[price] = ticks
        return ticks

    def _not_positive(self, price: str | float) -> DataError:
        return DataError(
            f"{self.contract.id}: a price of {price}: prices of zero or below cannot be traded here yet; "
            "leave this contract out"
        )


def epoch_ns(stamp: int) -> int:
    """Nanoseconds of a time stamp in seconds, milli-, micro- or nanoseconds since 1970: told by its size.

    Raises
    ------
    ValueError
        It lies between 1990 and 2100 in none of these units.

    """
    for first, last, ns in _SPANS:
        if first <= stamp < last:
            return stamp * ns
    raise ValueError(f"{stamp} is no time since 1970 in s, ms, µs or ns")


def stamp_ns(text: str) -> int:
    """Nanoseconds of a time stamp since 1970, written with decimals or without, its unit told by its size.

    Raises
    ------
    ValueError
        It is no number, or lies between 1990 and 2100 in no unit.

    """
    if text.isdecimal():
        return epoch_ns(int(text))
    try:
        exact = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if exact.is_finite() and exact.adjusted() < 20:
        for first, last, ns in _SPANS:
            if first <= exact < last:
                return round(exact * ns)
    raise ValueError(f"{text} is no time since 1970 in s, ms, µs or ns")


def in_unit(stamp: int | Decimal, unit: Literal["s", "ms", "us", "ns"]) -> int:
    """Nanoseconds of a time stamp since 1970 in a known unit, with decimals or without.

    Raises
    ------
    ValueError
        It lies before 1990 or after 2100, as one of another unit does.

    """
    ns = round(stamp * _NS[unit])
    if not _FIRST_S * _NS["s"] <= ns < _LAST_S * _NS["s"]:
        raise ValueError(f"{stamp} {unit} since 1970 is not between 1990 and 2100")
    return ns


def since_midnight(date: dt.date, ns: int, zone: ZoneInfo) -> int:
    """Nanoseconds since 1970 when a local clock shows `ns` after midnight; raises `ValueError` past the day's end."""
    hours, rest = divmod(ns, _HOUR_NS)
    if not 0 <= hours < 24:
        raise ValueError(f"{ns / _NS['s']:g} s after midnight is no time of a day")
    return _at_hour(date, hours, zone) + rest


@cache
def _at_hour(date: dt.date, hours: int, zone: ZoneInfo) -> int:
    return wall_ns(date, hours * 3_600, zone)


def whole_number(text: str) -> int:
    """A whole number, also as R and pandas write it (1e+08, 100000000.0); raises `ValueError` for another word."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        exact = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number") from None
    if exact.is_finite() and exact.adjusted() < 20 and exact == exact.to_integral_value():
        return int(exact)
    raise ValueError(f"{text!r} is no whole number")
