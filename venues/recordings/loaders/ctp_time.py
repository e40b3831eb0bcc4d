"""When a CTP row was: what its day columns mean at each exchange, stamps that are wrong, coarse seconds.

At night SHFE writes the next trading day as TradingDay and the calendar's date as ActionDay; DCE
writes the trading day into both, CZCE the calendar's date into both.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from market.errors import DataError
from market.sessions import NS_PER_S, SessionClock, wall_ns

DAY_NS = 86_400 * NS_PER_S
_SHANGHAI = ZoneInfo("Asia/Shanghai")
_NIGHT_NS = 18 * 3_600 * NS_PER_S
_MORNING_NS = 6 * 3_600 * NS_PER_S
_LONGEST_BREAK = dt.timedelta(days=20)
"""Of the Chinese calendar: an ActionDay further from its TradingDay is wrong."""


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row in common terms; prices as written, volume and turnover cumulative for the day.

    `ts` where the file states the moment itself (ns), else `clock_ns` after the midnight of the day that `day`
    (YYYYMMDD) and `action_day` tell of. None is what the vendor leaves out.
    """

    exchange: str
    symbol: str
    ts: int = 0
    clock_ns: int = 0
    day: int = 0
    action_day: str = ""
    last: float | None
    volume: float | None
    turnover: float | None
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    where: tuple[Path, int]


def place(row: Row, exchange: str, calendar: SessionClock) -> tuple[int, int]:
    """Exchange time (ns) and trading day (YYYYMMDD, 0 where the file has none) of a row.

    `calendar` knows which days trade.

    Raises
    ------
    DataError
        A day column holds no date.

    """
    if row.ts:
        return row.ts, 0
    part = "night" if row.clock_ns >= _NIGHT_NS else "morning" if row.clock_ns < _MORNING_NS else "day"
    try:
        midnight, day = _midnight(exchange, calendar, row.day, row.action_day, part)
    except ValueError as error:
        path, line = row.where
        raise DataError(
            f"{path}, line {line}: TradingDay {row.day} and ActionDay {row.action_day!r} are not dates YYYYMMDD"
        ) from error
    return midnight + row.clock_ns, day


def is_impossible(row: Row) -> bool:
    """A row whose ActionDay lies after its TradingDay, or long before it."""
    if row.ts or row.action_day == str(row.day):
        return False  # (place has made sure that both are dates)
    return not dt.timedelta(0) <= _date(str(row.day)) - _date(row.action_day) <= _LONGEST_BREAK


@cache
def _midnight(exchange: str, calendar: SessionClock, trading_day: int, action_day: str, part: str) -> tuple[int, int]:
    day, date = _date(str(trading_day)), _date(action_day)
    if day == date and part != "day":
        if exchange == "CZCE":
            day = calendar.next_day(date if part == "night" else date - dt.timedelta(days=1))
        else:
            date = calendar.day_before(day) + dt.timedelta(days=part == "morning")
    return wall_ns(date, 0, _SHANGHAI), day.year * 10_000 + day.month * 100 + day.day


@cache
def _date(text: str) -> dt.date:
    return dt.datetime.strptime(text, "%Y%m%d").date()


def by_neighbours(ts: int, last: int, clock: SessionClock, slack_ns: int) -> int:
    """The time of a row that lies about a day off the one before it, where a day more or less fits.

    The date of some feeds changes late, or early, at midnight.
    """
    if ts < last - slack_ns and last - slack_ns <= ts + DAY_NS <= last + _MORNING_NS and clock.is_open(ts + DAY_NS):
        return ts + DAY_NS
    if (
        ts > last + DAY_NS // 2
        and last - slack_ns <= ts - DAY_NS <= last + 60 * NS_PER_S
        and clock.is_open(ts - DAY_NS)
    ):
        return ts - DAY_NS
    return ts


def spread(ts: int, count: int) -> list[int]:
    """Times of `count` rows that all bear one whole second: evenly over it."""
    return [ts + NS_PER_S * place // count for place in range(count)]
