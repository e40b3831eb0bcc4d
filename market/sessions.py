"""Trading sessions: which trading day a moment belongs to, and when quoting must stop."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from market.contracts import Sessions

NS_PER_S = 1_000_000_000
_DAY_S = 86_400
_NIGHT_STARTS_S = 18 * 3_600


class SessionClock:
    """Places arrival times in sessions. Holidays are unknown: a Friday night is Monday's.

    Recordings that state their trading day (CTP) override the weekday rule.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._zone = ZoneInfo(sessions.timezone)
        self._hours = [_interval(text) for text in sessions.hours]
        self._offsets: dict[int, int] = {}

    def is_open(self, ts_ns: int) -> bool:
        """Tell whether `ts_ns` lies inside a session (both ends included to the second)."""
        if not self._hours:
            return True
        seconds = self._local_seconds(ts_ns) % _DAY_S
        return any(start <= seconds <= end or start <= seconds + _DAY_S <= end for start, end in self._hours)

    def trading_day(self, ts_ns: int) -> dt.date:
        """Return the trading day: the local date, or after a night's start the next weekday."""
        days, seconds = divmod(self._local_seconds(ts_ns), _DAY_S)
        date = dt.date(1970, 1, 1) + dt.timedelta(days=days)
        if not self._hours:
            return date
        if seconds >= _NIGHT_STARTS_S:
            date += dt.timedelta(days=1)
        elif not any(end > _DAY_S and seconds + _DAY_S <= end for _, end in self._hours):
            return date
        while date.weekday() >= 5:
            date += dt.timedelta(days=1)
        return date

    def closes(self, first_ns: int, last_ns: int) -> list[tuple[int, int]]:
        """Return the sessions (open, close; ns) that overlap the span, in time order."""
        if not self._hours:
            return [(first_ns, last_ns)]
        spans = []
        day = self._local_seconds(first_ns) // _DAY_S - 1
        while (midnight := self._utc_ns(day * _DAY_S)) <= last_ns:
            for start, end in self._hours:
                span = (midnight + start * NS_PER_S, midnight + end * NS_PER_S)
                if span[1] >= first_ns and span[0] <= last_ns:
                    spans.append(span)
            day += 1
        return sorted(spans)

    def _local_seconds(self, ts_ns: int) -> int:
        seconds = ts_ns // NS_PER_S
        hour = seconds // 3_600
        offset = self._offsets.get(hour)
        if offset is None:
            delta = dt.datetime.fromtimestamp(hour * 3_600, self._zone).utcoffset()
            offset = self._offsets[hour] = int(delta.total_seconds()) if delta else 0
        return seconds + offset

    def _utc_ns(self, local_seconds: int) -> int:
        naive = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=local_seconds)
        return int(naive.replace(tzinfo=self._zone).timestamp()) * NS_PER_S


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
