"""Times of a run as measured: how long commands took to arrive, how late data were seen, when quotes were away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.compare.records import Log
from engine.live.records.order_log import ENDED, Sent
from strategies.trading_state import Reason
from strategies.values import Kind

PROMPT_NS = 10_000_000
"""Data this much later than the promptest are on time: queues of the network and clocks in whole milliseconds."""

_FED = frozenset((Reason.STALE, Reason.GAP, Reason.LAGGING))
"""Reasons why quotes are away that lie in how the data came, not in what they said."""


_ANSWERS: dict[int, tuple[str, ...]] = {
    Kind.PLACE: ("accepted", "refused", "filled"), Kind.AMEND: ("amended", "kept"), Kind.CANCEL: ("gone", "kept"),
}  # fmt: skip


class Arrival(NamedTuple):
    """A command and when it took effect at the exchange, by the clock by which market data arrive at us, ns."""

    sent: Sent
    ts_ns: int
    was_taken: bool

    @property
    def took_ns(self) -> int:
        """From the update that it answers."""
        return self.ts_ns - self.sent.ts_ns


def arrivals(log: Log, least_lag_ns: int) -> list[Arrival]:
    """Commands that were answered, with when they arrived, in order of arrival.

    The exchange says by its own clock when it took a command; `least_lag_ns` (arrival minus exchange time of the
    promptest market data) turns that into our clock of arrival. It lies between sending and hearing of it: where
    clocks say otherwise, these bound it.
    """
    answers: dict[str, list[tuple[int, int, str]]] = {}
    for a in log.answered:
        answers.setdefault(a.key, []).append((a.now_ns, a.ts_event, a.what))
    for f in log.filled:  # may be told before the order's acceptance, or instead of it
        answers.setdefault(f.key, []).append((f.now_ns, f.ts_event, "filled"))
    found = []
    for sent in log.sent:
        rows = [row for row in answers.get(sent.key, ()) if row[2] in _ANSWERS[sent.kind] and row[0] >= sent.now_ns]
        if rows:
            heard, ts_event, what = min(rows)
            at = min(max(ts_event + least_lag_ns, sent.now_ns), heard)
            found.append(Arrival(sent, at, what not in ("refused", "kept")))
    return sorted(found, key=lambda arrival: arrival.ts_ns)


def latency_series(found: Sequence[Arrival]) -> list[tuple[int, float]]:
    """(time of the update, ms until its commands had arrived): placements, the last of those that left together."""
    took: dict[int, int] = {}
    for arrival in found:
        if arrival.sent.kind == Kind.PLACE and arrival.was_taken:
            took[arrival.sent.ts_ns] = max(took.get(arrival.sent.ts_ns, 0), arrival.took_ns)
    return [(ts, ns / 1e6) for ts, ns in sorted(took.items())]


def least_lag(seen: Sequence[tuple[int, int]]) -> int:
    """Arrival minus exchange time of the promptest of updates (arrival, exchange time), ns: all but one in a hundred
    took longer. One without an exchange time of its own has the same twice, and tells nothing."""
    lags = np.array([ts - event for ts, event in seen if ts != event], np.int64)
    return int(np.quantile(lags, 0.01, method="lower")) if len(lags) else 0


def lateness_series(
    market: Iterable[tuple[int, int]], seen: Sequence[tuple[int, int]], least_lag_ns: int
) -> list[tuple[int, float]]:
    """How late the trader knew of each update of a market: (its arrival in the recording, ms), where that changes.

    Parameters
    ----------
    market : iterable of (arrival, exchange time)
        Updates of the recording that the backtests trade, ns.
    seen : sequence of (arrival, exchange time)
        Updates as the trader saw them. One that it never saw counts as seen with the next one.
    least_lag_ns : int
        Arrival minus exchange time of the promptest update that the trader saw.

    """
    newest = np.maximum.accumulate(np.array([event for _, event in seen], np.int64))
    rows: list[tuple[int, float]] = []
    for ts, event in market:
        j = int(np.searchsorted(newest, event))
        if j == len(seen):
            break
        late = seen[j][0] - event - least_lag_ns
        ms = late / 1e6 if late > PROMPT_NS else 0.0
        if not rows or rows[-1][1] != ms:
            rows.append((ts, ms))
    return rows


def write_series(path: Path, rows: Sequence[tuple[int, float]]) -> Path:
    """Write a latency series, as `venue.latency` reads it."""
    path.write_text("ts_ns,ms\n" + "".join(f"{ts},{ms!r}\n" for ts, ms in rows))
    return path


class Away(NamedTuple):
    """A time in which the trader did not quote, and why."""

    start_ns: int
    end_ns: int
    reason: str
    is_fed: bool
    """It lies in how market data came."""


def away(log: Log, start_ns: int, end_ns: int, *, is_wide: bool = False) -> list[Away]:
    """When the run did not quote, in order; with `is_wide` it quotes on where the model is at fault."""
    found: list[Away] = []
    since, reason, fed = start_ns, str(Reason.NOT_READY), False
    for entry in log.quoting:
        if is_wide and entry.reason.startswith("model_"):
            continue
        if reason and entry.ts_ns > since:
            found.append(Away(since, entry.ts_ns, reason, fed))
        fed = entry.reason in _FED or (entry.reason == Reason.RECOVERING and fed)
        since, reason = entry.ts_ns, "" if entry.reason == ENDED else entry.reason
    if reason and end_ns > since:
        found.append(Away(since, end_ns, reason, fed))
    return found
