"""The alarm on market data: once when they keep quotes from the market for long, and once when all is well again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

RECOVERING = "recovering"


class DataAlarm:
    """Follows one episode of what the guard holds against the market data.

    An episode begins with a problem and ends when quoting may go on; a book that is crossed every now
    and then, and between that recovers, is one episode.

    Parameters
    ----------
    instrument : str
    after_s : float
        An episode that lasts so long raises an alarm.
    tell : callable
        Raises an alarm of a kind, with a text.

    """

    def __init__(self, instrument: str, after_s: float, tell: Callable[[str, str], None]) -> None:
        self._instrument, self._after_ns, self._tell = instrument, round(after_s * 1e9), tell
        self._since: int | None = None
        self._since_utc = ""
        self._seen: dict[str, None] = {}
        self._is_told = False

    def look(self, problem: str, now_ns: int, utc_ns: int) -> None:
        """Take what is held against the data now ('' for nothing).

        Parameters
        ----------
        problem : str
        now_ns : int
            Of a clock that nobody sets.
        utc_ns : int
            The time of day, for people.

        """
        if not problem:
            if self._is_told and self._since is not None:
                text = f"{self._instrument}: market data are well again after {self._lasts(now_ns)}"
                self._tell("market_data_well", text)
            self._since, self._is_told = None, False
            self._seen.clear()
            return
        if self._since is None:
            self._since = now_ns
            self._since_utc = f"{dt.datetime.fromtimestamp(utc_ns / 1e9, dt.UTC):%H:%M:%S.%f}"[:-3]
        if problem != RECOVERING:
            self._seen[problem] = None
        if not self._is_told and now_ns - self._since >= self._after_ns:
            self._is_told = True
            text = f"{self._instrument}: no quotes since {self._since_utc} UTC, for {self._lasts(now_ns)}"
            self._tell("market_data", text)

    def _lasts(self, now_ns: int) -> str:
        seconds = (now_ns - (self._since or 0)) / 1e9
        return f"{seconds:.1f} s: {', '.join(self._seen) or RECOVERING}"
