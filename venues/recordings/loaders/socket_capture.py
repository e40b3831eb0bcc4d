"""Raw socket captures: a JSON message a line, after the time at which it was received or without one.

The time is in s, ms, µs or ns since 1970, with decimals or without, or ISO 8601; blanks, a tab, a comma,
a semicolon or a bar follow it, and the message may be quoted as CSV does. A file is of one form throughout.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from market.errors import DataError
from market.sessions import NS_PER_S
from venues.recordings.loaders.base import lines
from venues.recordings.loaders.units import epoch_ns, stamp_ns

_PREFIX = re.compile(
    r"\s*(?:(?P<number>\d{9,20}(?:\.\d{1,9})?)"
    r"|(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:[.,](?P<part>\d{1,9}))?"
    r"\s?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?)"
    r'(?:\s*[,;|]\s*|\s+)(?="?[\{\[])'
)
_UNKNOWN_TIMES = 10_000
"""Messages that may precede the first that says when it was sent."""
_SAME_CLOCK_NS = 900 * NS_PER_S
"""Time zones differ by a quarter of an hour at least."""

ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What reading a message of another shape than its kind's comes to."""
NO_ARRIVAL = "no arrival times: each message stands at the time at which the exchange sent it"
NO_ZONE = "arrival times without a zone are taken as UTC, which fits the exchange's times"


class Capture:
    """Messages of a capture with their arrival times.

    Parameters
    ----------
    path : Path
    sent : Callable
        The exchange's time (ns) in a message, None where it bears none. Where the lines bear no time a message
        stands at this one, and one without at that of the message before.

    Attributes
    ----------
    remark : str
        What is to be said of the arrival times, known after the first message; empty where they are plain.

    """

    def __init__(self, path: Path, sent: Callable[[Any], int | None]) -> None:
        self.path, self.remark = path, ""
        self._sent = sent
        self._checked = False

    def __iter__(self) -> Iterator[tuple[str, int, Any]]:
        """Yield (where the message stands, arrival time in ns, message).

        Raises
        ------
        DataError
            A line is not of this form.

        """
        source = ((number, line) for number, line in lines(self.path) if line.strip("\0 \t"))
        first = next(source, None)
        if first is None:
            return
        timed = _PREFIX.match(first[1]) is not None
        self.remark = "" if timed else NO_ARRIVAL
        yield from (self._timed if timed else self._untimed)(_chain(first, source))

    def _timed(self, source: Iterator[tuple[int, str]]) -> Iterator[tuple[str, int, Any]]:
        for number, line in source:
            where = f"{self.path}, line {number}"
            stamp, _, text = line.partition(" ")
            try:
                if stamp.isdecimal() and text[:1] in ("{", "["):
                    yield where, epoch_ns(int(stamp)), msgspec.json.decode(text)
                    continue
                found = _PREFIX.match(line)
                if found is None:
                    raise ValueError("the line does not begin with a time")
                message = msgspec.json.decode(_unquoted(line[found.end() :]))
                ts, local = _time(found)
            except (ValueError, msgspec.DecodeError, RecursionError) as error:
                raise DataError(f"{where}: not `<time> <json>` ({error})") from error
            if local and not self._checked:
                self._check(where, ts, message)
            yield where, ts, message

    def _check(self, where: str, ts: int, message: Any) -> None:
        """A time without a zone is in UTC where the exchange's time says so."""
        self.remark = NO_ZONE
        sent = self._sent_at(where, message)
        if sent is None:
            return
        if abs(ts - sent) > _SAME_CLOCK_NS:
            raise DataError(
                f"{where}: its time bears no zone and lies {(ts - sent) / 3.6e12:+.1f} h from the exchange's; "
                "write the times in UTC, or with their zone"
            )
        self._checked = True

    def _sent_at(self, where: str, message: Any) -> int | None:
        try:
            return self._sent(message)
        except ODD as error:
            raise odd(where, error) from error

    def _untimed(self, source: Iterator[tuple[int, str]]) -> Iterator[tuple[str, int, Any]]:
        waiting: list[tuple[str, Any]] = []
        last = 0
        for number, line in source:
            where = f"{self.path}, line {number}"
            try:
                message = msgspec.json.decode(_unquoted(line.strip()))
            except (ValueError, msgspec.DecodeError, RecursionError) as error:
                raise DataError(f"{where}: not a JSON message, as the lines before it are ({error})") from error
            now = self._sent_at(where, message)
            if now is None and not last:
                waiting.append((where, message))
                if len(waiting) > _UNKNOWN_TIMES:
                    break
                continue
            last = now or last
            for held in waiting:
                yield held[0], last, held[1]
            waiting = []
            yield where, last, message
        if waiting:
            raise DataError(f"{self.path}: neither its lines nor the first messages in them bear a time")


def odd(where: str, error: Exception) -> DataError:
    """The refusal of a message that is not of its kind's shape."""
    return DataError(f"{where}: a message of unexpected shape ({' '.join(repr(error).split())[:200]})")


def word(value: Any) -> str:
    """A name in a message; raises `TypeError` for anything else."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is no name")
    return value


def is_timed(head: str) -> bool:
    """Whether a file begins with a time and a message."""
    return _PREFIX.match(head) is not None


def _chain(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _unquoted(text: str) -> str:
    """A message without the quotes that CSV puts around it."""
    return text.strip()[1:-1].replace('""', '"') if text.startswith('"') else text


def _time(found: re.Match[str]) -> tuple[int, bool]:
    """A line's time, and whether it bears no zone."""
    if found["number"] is not None:
        return stamp_ns(found["number"]), False
    zone = found["zone"]
    when = dt.datetime.fromisoformat(
        f"{found['day']}T{found['time']}{'+00:00' if zone in (None, 'Z', 'UTC') else zone}"
    )
    seconds = int(when.timestamp())
    return epoch_ns(seconds) + int((found["part"] or "").ljust(9, "0")), zone is None
