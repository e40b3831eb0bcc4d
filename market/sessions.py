"""Trading sessions: which trading day a moment belongs to, and when quoting must stop."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from market.contracts import Sessions

NS_PER_S = 1_000_000_000
_DAY_S = 86_400
_NIGHT_STARTS_S = 18 * 3_600
_ONE_DAY = dt.timedelta(days=1)
_NEVER = (1, 0)

type Span = tuple[int, int]


class SessionClock:
    """Places arrival times in sessions, whose edges are wall-clock times of the exchange.

    An evening belongs to the next weekday that is no holiday (a Friday night is Monday's); recordings
    that state their trading day (CTP) override that. Weekends are not closed: some exchanges trade.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._zone = ZoneInfo(sessions.timezone)
        self._hours = [_interval(text) for text in sessions.hours]
        self._closed = frozenset(sessions.closed)
        self._early = {date: _seconds(text) for date, text in sessions.early.items()}
        self._spans: dict[dt.date, list[Span]] = {}
        self._open: Span = _NEVER  # the session last looked into
        self._midnights: Span = _NEVER
        self._local: tuple[dt.date, bool] = (dt.date.min, False)

    def is_open(self, ts_ns: int) -> bool:
        """Tell whether `ts_ns` lies inside a session (both ends included to the second)."""
        if not self._hours or self._open[0] <= ts_ns < self._open[1]:
            return True
        today = self._date(ts_ns)
        for date in (today, today - _ONE_DAY):
            for start, end in self._sessions_of(date):
                if start <= ts_ns < end + NS_PER_S:
                    self._open = (start, end + NS_PER_S)
                    return True
        return False

    def trading_day(self, ts_ns: int) -> dt.date:
        """Return the trading day: the local date, or after a night's start the next one that trades."""
        date = self._date(ts_ns)
        if not self._hours:
            return date
        seconds = self._seconds_of(ts_ns)
        if seconds >= _NIGHT_STARTS_S:
            return self.next_day(date)
        if any(end > _DAY_S and seconds + _DAY_S <= end for _, end in self._hours):
            return date if self._trades(date) else self.next_day(date)
        return date

    def next_day(self, date: dt.date) -> dt.date:
        """Return the first trading day after a date."""
        date += _ONE_DAY
        while not self._trades(date):
            date += _ONE_DAY
        return date

    def day_before(self, date: dt.date) -> dt.date:
        """Return the last trading day before a date: on its evening a trading day's night begins."""
        date -= _ONE_DAY
        while not self._trades(date):
            date -= _ONE_DAY
        return date

    def closes(self, first_ns: int, last_ns: int) -> list[Span]:
        """Return the sessions (open, close; ns) that overlap the span, in time order."""
        if not self._hours:
            return [(first_ns, last_ns)]
        spans: list[Span] = []
        date, last = self._date(first_ns) - _ONE_DAY, self._date(last_ns)
        while date <= last:
            spans += [s for s in self._sessions_of(date) if s[1] >= first_ns and s[0] <= last_ns]
            date += _ONE_DAY
        return sorted(spans)

    def _trades(self, date: dt.date) -> bool:
        return date.weekday() < 5 and date not in self._closed

    def _sessions_of(self, date: dt.date) -> list[Span]:
        """Sessions that begin on a local date; cached."""
        found = self._spans.get(date)
        if found is None:
            found = self._spans[date] = self._make_sessions(date)
        return found

    def _make_sessions(self, date: dt.date) -> list[Span]:
        if date in self._closed:
            return []
        spans = []
        for start, end in self._hours:
            if start >= _NIGHT_STARTS_S and self._is_eve(date):
                continue
            if start < _NIGHT_STARTS_S:
                end = min(end, self._early.get(date, end))
            if end > start:
                spans.append((wall_ns(date, start, self._zone), wall_ns(date, end, self._zone)))
        return spans

    def _is_eve(self, date: dt.date) -> bool:
        """No night session on the evening before a holiday: its trading day would not come."""
        date += _ONE_DAY
        while date.weekday() >= 5:
            date += _ONE_DAY
        return date in self._closed

    def _date(self, ts_ns: int) -> dt.date:
        if not self._midnights[0] <= ts_ns < self._midnights[1]:
            date = dt.datetime.fromtimestamp(ts_ns // NS_PER_S, self._zone).date()
            self._midnights = (wall_ns(date, 0, self._zone), wall_ns(date, _DAY_S, self._zone))
            self._local = (date, self._midnights[1] - self._midnights[0] == _DAY_S * NS_PER_S)
        return self._local[0]

    def _seconds_of(self, ts_ns: int) -> int:
        """Local seconds of the day that `_date` has just been asked for."""
        if self._local[1]:  # no change of the clock on that day
            return (ts_ns - self._midnights[0]) // NS_PER_S
        local = dt.datetime.fromtimestamp(ts_ns // NS_PER_S, self._zone)
        return local.hour * 3_600 + local.minute * 60 + local.second


def wall_ns(date: dt.date, seconds: int, zone: ZoneInfo) -> int:
    """Nanoseconds since the epoch when a local clock shows `seconds` after midnight of `date`.

    Not midnight plus seconds: on the days when clocks change they are an hour apart.
    """
    days, seconds = divmod(seconds, _DAY_S)
    clock = dt.time(seconds // 3_600, seconds // 60 % 60, seconds % 60)
    naive = dt.datetime.combine(date + dt.timedelta(days=days), clock)
    return int(naive.replace(tzinfo=zone).timestamp()) * NS_PER_S


def local_ns(naive: dt.datetime, zone: ZoneInfo) -> int:
    """Nanoseconds since the epoch of a local wall-clock time (microsecond resolution)."""
    aware = naive.replace(tzinfo=zone)
    return int(aware.replace(microsecond=0).timestamp()) * NS_PER_S + naive.microsecond * 1_000


def _interval(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    first, last = _seconds(start), _seconds(end)
    return first, last if last > first else last + _DAY_S


def _seconds(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 3_600 + int(minutes) * 60
