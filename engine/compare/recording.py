"""The market of a run: the recording of the day it traded, cut to its span."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from engine.compare.own_lots import OwnLots
from engine.compare.records import Record, Span
from engine.compare.timing import PROMPT_NS, least_lag
from engine.config import Config
from engine.recordings.captured import RECORDING, recorded_catalog
from engine.recordings.catalog import open_catalog
from market.errors import ConfigError, DataError
from market.events import BookUpdate, Trade
from market.level_book import LevelBook
from market.nautilus import Decoder, Instrument
from venues.loopback.market import recorded
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events
from venues.recordings.moments import moments

_EDGE_NS = 60 * 10**9
_COVERED = 0.9
"""Share of a run that a recording must tell of to be preferred to what the trader saw itself."""


class Market(msgspec.Struct, frozen=True):
    """What the backtests trade.

    Parameters
    ----------
    catalog : Catalog
    day : Day
    base : Catalog
        Where it was found: queue models that were fitted lie there.
    span : tuple[int, int]
        The time in which the run traded it, ns.
    seen : list[tuple[int, int]]
        (arrival, exchange time) of each update as the trader saw it, where that is known.
    is_own : bool
        It is what the trader saw itself.
    own : tuple[Catalog, Day] or None
        What the trader saw itself, beside another recording.
    notes : list[str]

    """

    catalog: Catalog
    day: Day
    base: Catalog
    span: tuple[int, int]
    seen: list[tuple[int, int]]
    is_own: bool
    own: tuple[Catalog, Day] | None
    notes: list[str]

    @property
    def least_lag_ns(self) -> int:
        """Arrival minus exchange time of the promptest updates."""
        return least_lag(self.seen)

    def times(self) -> Iterator[tuple[int, int]]:
        """(arrival, exchange time) of its book updates."""
        return book_times(self.catalog, self.day)


def find_market(record: Record, span: Span, catalogs: list[Config], scratch: Path) -> Market:
    """The recording of a span of a run.

    Parameters
    ----------
    record : Record
    span : Span
    catalogs : list[Config]
        Whose `data.path` to look in, in order.
    scratch : Path
        A folder for what is cut out.

    Raises
    ------
    ConfigError
        Nobody recorded it.

    """
    instrument = span.header.instrument
    if span.date is not None:
        for config in catalogs:
            catalog = open_catalog(config)
            day = catalog.days(instrument).get(span.date)
            if day is not None:
                return Market(catalog, day, catalog, (day.start_ns, day.end_ns), [], False, None, [])
        raise ConfigError(
            f"{instrument} {span.date}, which {record.folder} replayed, is not in {_named(catalogs)}; "
            "name the catalog with --set data.path=…, or import the recording again"
        )
    recorded_by_us, seen = _seen(record, span, catalogs[0])
    if seen:  # what the trader did before its first data and after its last was no trading
        start, end = seen[0][0], seen[-1][0]
        span = msgspec.structs.replace(
            span, start_ns=start if start - span.start_ns < _EDGE_NS else span.start_ns,
            end_ns=end if span.end_ns - end < _EDGE_NS else span.end_ns,
        )  # fmt: skip
    ours = _own(record, span, recorded_by_us, seen, scratch) if recorded_by_us is not None else None
    theirs = _others(record, span, catalogs, scratch)
    if theirs is not None and (ours is None or _share(theirs[1], span) >= _COVERED):
        base, day, catalog = theirs[0], *theirs[1:]
        return _cut(Market(catalog, day, base, (span.start_ns, span.end_ns), seen, False, ours, []), span)
    if ours is not None:
        market = Market(*ours, ours[0], (span.start_ns, span.end_ns), seen, True, None, [])
        return _cut(market, span)
    raise ConfigError(
        f"nobody recorded {instrument} from {_clock(span.start_ns)} to {_clock(span.end_ns)} UTC: neither the trader "
        f"({record.folder / RECORDING}) nor {_named(catalogs)}; trade with live.record: true, or run "
        "`cmm capture` beside it"
    )


def book_times(catalog: Catalog, day: Day) -> Iterator[tuple[int, int]]:
    """(arrival, exchange time) of a day's book updates."""
    return ((moment.ts, moment.ts_event) for moment in moments(catalog, day) if moment.trade is None)


def _seen(record: Record, span: Span, config: Config) -> tuple[Catalog | None, list[tuple[int, int]]]:
    """What the trader recorded itself, if it did, and (arrival, exchange time) of the updates of a span."""
    if not (record.folder / RECORDING).is_dir():
        return None, []
    catalog = recorded_catalog(record.folder, config)
    days = catalog.days(span.header.instrument).values()
    seen = [
        (ts, event) for day in days if _touches(day, span) for ts, event in book_times(catalog, day)
        if span.start_ns <= ts <= span.end_ns
    ]  # fmt: skip
    return (catalog if seen else None), seen


def _own(
    record: Record, span: Span, catalog: Catalog, seen: list[tuple[int, int]], scratch: Path
) -> tuple[Catalog, Day] | None:
    """The market as the trader saw it. A real exchange did not wait for data that came late: they come as promptly as
    the others did. A paper exchange did wait."""
    least = least_lag(seen) if record.mode == "live" else None
    return _stretch(catalog, span, _lots_of(record, span), scratch / "own", least)


def _promptly(events: Iterable[BookUpdate | Trade], least_lag_ns: int) -> Iterator[BookUpdate | Trade]:
    """Events that came late, as if they had come as soon as the promptest."""
    last = 0
    for event in events:
        prompt = event.ts_event + least_lag_ns
        last = max(last, event.ts_recv if event.ts_recv - prompt <= PROMPT_NS else prompt)
        yield msgspec.structs.replace(event, ts_recv=last)


def _lots_of(record: Record, span: Span) -> OwnLots | None:
    """Our orders as the market showed them; none of a paper exchange's."""
    return OwnLots(span.log) if record.mode == "live" else None


def _others(record: Record, span: Span, catalogs: list[Config], scratch: Path) -> tuple[Catalog, Day, Catalog] | None:
    """The recording that tells of most of a span: where it was found, the day cut out, and its catalog."""
    best: tuple[Catalog, Day, Catalog] | None = None
    for number, config in enumerate(catalogs):
        base = open_catalog(config)
        found = _stretch(base, span, _lots_of(record, span), scratch / f"market-{number}")
        if found is not None and (best is None or _share(found[1], span) > _share(best[1], span)):
            best = (base, found[1], found[0])
    return best


def _stretch(
    catalog: Catalog, span: Span, own: OwnLots | None, folder: Path, least_lag_ns: int | None = None
) -> tuple[Catalog, Day] | None:
    """The part of a catalog that a run traded, as a day of a catalog of its own; it begins with the whole book.

    The public sees our orders among those of others. Where they stand in the recording they are taken out (`own`): the
    backtest places its own. With `least_lag_ns` what came late comes promptly.
    """
    instrument = span.header.instrument
    days = [day for day in catalog.days(instrument).values() if _touches(day, span)]
    if not days:
        return None
    cut = Catalog(folder, catalog.contracts)
    events: Iterable[BookUpdate | Trade] = (
        event for day in days for event in _inside(catalog, day, days[0].date, span)
    )
    if own is not None:
        events = (own.take_out(event) for event in events)
    if least_lag_ns is not None:
        events = _promptly(events, least_lag_ns)
    try:
        done = import_events(cut, events, instrument, days[0].format, [], Counter(), lambda *_: None)
    except DataError:
        return None  # nothing of the span is in it
    notes = list(dict.fromkeys(note for day in days for note in day.notes))
    return cut, msgspec.structs.replace(done.days[0], notes=notes)


def _inside(catalog: Catalog, day: Day, date: dt.date, span: Span) -> Iterator[BookUpdate | Trade]:
    """A day's events within a span; what stood before comes as one whole book at its beginning."""
    book, has_begun = LevelBook(), False
    stated = date.year * 10_000 + date.month * 100 + date.day
    for event in recorded(catalog, day, Decoder(Instrument(catalog.contract(day), day.depth))):
        if event.ts_recv > span.end_ns:
            return
        if not has_begun and event.ts_recv >= span.start_ns:
            has_begun = True
            if levels := list(book.levels()):
                at = max(span.start_ns, day.start_ns)
                yield BookUpdate(day.instrument, at, at, levels, snapshot=True, depth=day.depth, day=stated)
        if isinstance(event, BookUpdate):
            event = msgspec.structs.replace(event, depth=day.depth, day=stated)
            book.apply(event)
        else:
            event = msgspec.structs.replace(event, day=stated)
        if has_begun:
            yield event


def _cut(market: Market, span: Span) -> Market:
    """Say what of the span the recording does not tell of."""
    share = _share(market.day, span)
    whose = "the trader's own recording" if market.is_own else f"the recording in {market.base.root}"
    notes = [f"the market is {whose}"]
    if share < _COVERED:
        notes.append(f"it tells of {100 * share:.0f}% of the run's time: fills outside it are left out")
    if not market.seen:
        notes.append(
            "what the trader saw was not recorded (live.record): data that came late or not at all do not show apart"
        )
    return msgspec.structs.replace(market, notes=[*notes, *market.day.notes])


def _touches(day: Day, span: Span) -> bool:
    return day.start_ns <= span.end_ns and day.end_ns >= span.start_ns


def _share(day: Day, span: Span) -> float:
    """Share of a span that a day tells of."""
    told = min(day.end_ns, span.end_ns) - max(day.start_ns, span.start_ns)
    return max(told, 0) / max(span.end_ns - span.start_ns, 1)


def _named(catalogs: list[Config]) -> str:
    return " or ".join(dict.fromkeys(f"the catalog {config.data.path}" for config in catalogs))


def _clock(ts_ns: int) -> str:
    return f"{dt.datetime.fromtimestamp(ts_ns / 1e9, dt.UTC):%Y-%m-%d %H:%M:%S}"
