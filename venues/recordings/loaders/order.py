"""Order in feeds of changes: a change is never dropped for its time stamp, a record with an id counts once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

import msgspec

from market.errors import DataError
from market.events import Event
from venues.recordings.loaders.findings import Findings

FAR_NS = 60_000_000_000
"""One stamp further than this from both its neighbours is wrong; a clock set back by more is refused."""
_RECENT = 100_000


class Stamped(msgspec.Struct, frozen=True, gc=False):
    """A row on its way to becoming an event: what its time stamp is judged by."""

    symbol: str
    ts_event: int
    ts_recv: int


def in_time[E: Event | Stamped](events: Iterable[E], findings: Findings, name: str) -> Iterator[E]:
    """Keep the file's order and let the arrival time never run backwards.

    A clock that was set back is held until it has caught up (`clock_back` counts the events). One
    stamp far from the events before and after it takes the time of the one before (`far_stamp`).

    Raises
    ------
    DataError
        Time runs backwards by more than a minute for more than one moment: the files are in disorder.

    """
    last = 0
    doubtful: list[E] = []
    for event in events:
        ts = event.ts_recv
        if not doubtful and (last <= ts <= last + FAR_NS):
            last = ts
            yield event
            continue
        if doubtful and ts == doubtful[0].ts_recv:
            doubtful.append(event)
            continue
        if doubtful:
            for held in _settled(doubtful, last, ts, findings):
                last = _forward(held, last, findings, name)
                yield _at(held, last)
            doubtful = []
        if not last - FAR_NS <= ts <= last + FAR_NS:
            doubtful.append(event)
            continue
        last = _forward(event, last, findings, name)
        yield _at(event, last)
    for held in doubtful:
        last = _forward(held, last, findings, name) if last else held.ts_recv
        yield _at(held, last)


def _settled[E: Event | Stamped](doubtful: list[E], last: int, after: int, findings: Findings) -> list[E]:
    """Events of one moment far from the one before; `after` is the moment that follows."""
    stamp = doubtful[0].ts_recv
    alone = abs(after - last) <= FAR_NS and abs(after - stamp) > FAR_NS if last else stamp - after > FAR_NS
    if not alone:
        return doubtful
    findings.of(doubtful[0].symbol)["far_stamp"] += len(doubtful)
    return [_at(event, last or after) for event in doubtful]


def _forward(event: Event | Stamped, last: int, findings: Findings, name: str) -> int:
    ts = event.ts_recv
    if ts >= last:
        return ts
    if last - ts > FAR_NS:
        when = dt.datetime.fromtimestamp(last // 10**9, dt.UTC).isoformat()
        raise DataError(
            f"{name}: time runs backwards by {(last - ts) / 1e9:.1f} s after {when}; sort the file by time first"
        )
    findings.of(event.symbol)["clock_back"] += 1
    return last


def _at[E: Event | Stamped](event: E, ts: int) -> E:
    return event if event.ts_recv == ts else msgspec.structs.replace(event, ts_recv=ts)


class Seen:
    """Ids of the last records of one kind: what comes again in a joined or doubled capture counts once."""

    def __init__(self) -> None:
        self._ids: dict[int | str, None] = {}

    def again(self, key: int | str) -> bool:
        """Tell whether an id was seen already, and remember it."""
        if key in self._ids:
            return True
        self._ids[key] = None
        if len(self._ids) > 2 * _RECENT:
            self._ids = dict.fromkeys(list(self._ids)[_RECENT:])
        return False
