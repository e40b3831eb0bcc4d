"""Ground truth for queue models: hypothetical orders of one lot in recordings that name orders (L3).

A hypothetical order joins the back of a queue at a random time and is followed for a while. Who stands before
it is known by id, so that its place, its fill and what came after are known too. Each model is shown
the level book alone and says what it believes; the two are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.config import CalibrateConfig
from market.events import ASK, BID
from market.nautilus import Decoder, Instrument, batches, owners
from venues.recordings.catalog import Catalog, Day
from venues.simulation.matcher import Matcher
from venues.simulation.matching import move_level
from venues.simulation.queues import Fifo, QueueModel
from venues.simulation.recorded_book import RecordedOrders, Rows, rows_of

AGES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the horizon at which places are compared."""


class Followed(msgspec.Struct):
    """What became of the hypothetical orders of a day, with one model. NaN where there was no fill.

    Parameters
    ----------
    filled_s : ndarray (orders,)
        Time from joining to fill, seconds.
    markout : ndarray (orders,)
        Mid at fill plus the markout time, minus the price, in our favour, ticks.
    ahead : ndarray (orders, ages)
        Lots before it at the ages; 0 once filled, NaN where the day ended.

    """

    filled_s: NDArray[np.float64]
    markout: NDArray[np.float64]
    ahead: NDArray[np.float64]


class HypotheticalOrders(msgspec.Struct):
    """Hypothetical orders of a day and their fates by model; `joined` (orders,) ns, `start` lots ahead at first."""

    joined: NDArray[np.int64]
    start: NDArray[np.float64]
    fates: dict[str, Followed]


class Cancels(msgspec.Struct):
    """Cancels seen at hypothetical orders' levels: lots before and behind (n, 2), share of the level that was
    cancelled (n,), whether it stood behind (n,), and when (n,) ns."""

    sides: NDArray[np.float64]
    weight: NDArray[np.float64]
    behind: NDArray[np.bool_]
    ts_ns: NDArray[np.int64]


class CancelWatch(Matcher):
    """The exact queue, writing down who cancels."""

    def __init__(self, book: RecordedOrders) -> None:
        super().__init__(Fifo(), book, shared=False)
        self.seen: list[tuple[float, float, float, bool, int]] = []

    def _move(self, rows: Rows, clear: bool, ts_event: int) -> None:
        for r in range(len(rows.side)):
            places = self._places[: len(self)]
            here = (places["side"] == rows.side[r]) & (places["price"] == rows.price[r]) & ~places["beyond_depth"]
            before = places[here]
            move_level(self._rules, self._match, self._places, self._consumed, rows, r, ts_event)
            after = places[here]["ahead"]
            size, stood, joined = rows.size[r], rows.stood[r], rows.joined[r]
            for place, front_after in zip(before, after, strict=True):
                shown, front = place["shown"], place["ahead"]
                back = shown - place["credit"] - front
                stands_before = bool(stood > 0 and joined < place["row"])
                cancelled = front - front_after if stands_before else shown - size
                if size < shown and cancelled > 0 and front > 0 and back > 0:
                    self.seen.append((front, back, cancelled / shown, not stands_before, ts_event))

    def cancels(self) -> Cancels:
        rows = self.seen
        return Cancels(
            np.array([row[:2] for row in rows], np.float64).reshape(-1, 2),
            np.array([row[2] for row in rows], np.float64),
            np.array([row[3] for row in rows], np.bool_),
            np.array([row[4] for row in rows], np.int64),
        )


type _Step = tuple[int, int, list[tuple[int, int, int]], list[int], bool] | tuple[int, int, int, int, int]


class L3Day(msgspec.Struct):
    """A day's events in memory: (arrival, exchange time, rows, owners, clear) of books and (arrival, exchange
    time, price, lots, aggressor) of trades, in order."""

    day: Day
    steps: list[_Step]


def load(catalog: Catalog, day: Day) -> L3Day:
    """Read a day that names its orders."""
    decoder = Decoder(Instrument(catalog.contract(day)))
    steps: list[_Step] = []
    for deltas, trades in catalog.chunks(day):
        for update in batches(deltas):
            rows, clear = decoder.levels(update)
            steps.append((update.ts_init, update.ts_event, rows, owners(update), clear))
        steps += [(trade.ts_init, trade.ts_event, *decoder.trade(trade)) for trade in trades]
    steps.sort(key=lambda step: step[0])
    return L3Day(day, steps)


def follow(
    l3: L3Day, models: Sequence[QueueModel], setup: CalibrateConfig, progress: Callable[[float], None] | None = None
) -> HypotheticalOrders:
    """Send hypothetical orders through a day, each seen by every model.

    Parameters
    ----------
    l3 : L3Day
    models : sequence of QueueModel
        Fates are told by their names; an exact one among them is the truth.
    setup : CalibrateConfig
    progress : callable, optional

    """
    book = RecordedOrders()
    matchers = {model.name: Matcher(model, book, shared=False) for model in models}
    return _follow(l3, book, matchers, setup, progress)


def watch(
    l3: L3Day, setup: CalibrateConfig, progress: Callable[[float], None] | None = None
) -> tuple[HypotheticalOrders, Cancels]:
    """Send hypothetical orders through a day in their exact queues, and write down who cancels around them."""
    book = RecordedOrders()
    matcher = CancelWatch(book)
    return _follow(l3, book, {Fifo.name: matcher}, setup, progress), matcher.cancels()


def _follow(
    l3: L3Day,
    book: RecordedOrders,
    by_name: dict[str, Matcher],
    setup: CalibrateConfig,
    progress: Callable[[float], None] | None,
) -> HypotheticalOrders:
    steps, horizon = l3.steps, round(setup.horizon_s * 1e9)
    rng = np.random.Generator(np.random.PCG64([setup.seed, len(steps)]))
    arrivals = _arrivals(np.array([step[0] for step in steps], np.int64), horizon, setup.orders, rng)
    choices = rng.integers(0, (2, setup.levels), (setup.orders, 2))
    matchers = list(by_name.values())
    shape = (len(matchers), setup.orders)
    filled_ns, price_of = np.zeros(shape, np.int64), np.zeros(setup.orders, np.int64)
    side_of, joined = np.zeros(setup.orders, np.int64), np.zeros(setup.orders, np.int64)
    start = np.full(setup.orders, np.nan)
    ahead = np.full((*shape, len(AGES)), np.nan)
    mids_ns: list[int] = []
    mids: list[float] = []
    due = sorted(  # (when, order, age): orders join at age -1 and are looked at at the others
        (int(t) + round(age * horizon), i, a)
        for i, t in enumerate(arrivals)
        for a, age in ((-1, 0.0), *enumerate(AGES))
    )
    following = 0
    for count, step in enumerate(steps):
        now = step[0]
        while following < len(due) and due[following][0] < now:
            _, i, a = due[following]
            following += 1
            if a < 0:
                levels = book.top(side := BID + int(choices[i, 0]), setup.levels)
                if len(levels) <= choices[i, 1] or not book.best(BID + ASK - side):
                    continue
                price = levels[choices[i, 1]][0]
                side_of[i], price_of[i], joined[i] = side, price, arrivals[i]
                for matcher in matchers:
                    start[i] = matcher.place(i, side, price, 1, int(arrivals[i])).shown
                continue
            for m, matcher in enumerate(matchers):
                place = matcher.get(i)
                if place is not None:
                    ahead[m, i, a] = place.ahead
                    if a == len(AGES) - 1:
                        matcher.remove(i)
                elif filled_ns[m, i]:
                    ahead[m, i, a] = 0.0
        if len(step) == 5 and isinstance(step[2], int):
            reached = [m.on_trade(now, step[1], step[2], step[3], step[4]) for m in matchers]
        else:
            changes, clear = np.array(step[2], np.int64).reshape(-1, 3), step[4]
            stood, joining = book.take(changes, step[3], clear)
            rows = rows_of(changes, stood, joining)
            reached = [m.on_book(now, step[1], rows, clear) for m in matchers]
            bid, ask = book.best(BID), book.best(ASK)
            if bid and ask:
                mids_ns.append(now)
                mids.append(0.5 * (bid + ask))
        for m, places in enumerate(reached):
            for place in places:
                if matchers[m].claim(place.key) and isinstance(place.key, int):
                    filled_ns[m, place.key] = now
        if progress is not None and count % 4096 == 0:
            progress(count / len(steps))
    placed = joined > 0
    times, values = np.array(mids_ns, np.int64), np.array(mids)
    fates = {}
    for m, name in enumerate(by_name):
        was = filled_ns[m][placed]
        done = was > 0
        at = np.searchsorted(times, was + round(setup.markout_s * 1e9), side="right") - 1
        sign = np.where(side_of[placed] == BID, 1.0, -1.0)
        fates[name] = Followed(
            np.where(done, (was - joined[placed]) * 1e-9, np.nan),
            np.where(done, sign * (values[at] - price_of[placed]), np.nan),
            ahead[m][placed],
        )
    return HypotheticalOrders(joined[placed], start[placed], fates)


def _arrivals(ts_ns: NDArray[np.int64], horizon: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random times, evenly over the time that the market was open: silences longer than the horizon
    are cut to it, and the last horizon of the day is left out."""
    open_ns = np.concatenate([[0], np.cumsum(np.minimum(np.diff(ts_ns), horizon))])
    drawn = np.sort(rng.integers(0, max(int(open_ns[-1]) - horizon, 1), count))
    before = np.searchsorted(open_ns, drawn, side="right") - 1
    arrivals: NDArray[np.int64] = ts_ns[before] + drawn - open_ns[before]
    return arrivals


def concatenate(parts: Sequence[HypotheticalOrders]) -> HypotheticalOrders:
    """Hypothetical orders of several days as one."""

    def joined(pick: Callable[[Followed], NDArray[np.float64]], name: str) -> NDArray[np.float64]:
        return np.concatenate([pick(part.fates[name]) for part in parts])

    return HypotheticalOrders(
        np.concatenate([part.joined for part in parts]),
        np.concatenate([part.start for part in parts]),
        {
            name: Followed(
                joined(lambda f: f.filled_s, name), joined(lambda f: f.markout, name), joined(lambda f: f.ahead, name)
            )
            for name in parts[0].fates
        },
    )


def chosen(orders: HypotheticalOrders, keep: NDArray[np.bool_]) -> HypotheticalOrders:
    """Some of the hypothetical orders."""
    fates = {
        name: Followed(fate.filled_s[keep], fate.markout[keep], fate.ahead[keep]) for name, fate in orders.fates.items()
    }
    return HypotheticalOrders(orders.joined[keep], orders.start[keep], fates)


def blocks(ts_ns: NDArray[np.int64], seconds: float) -> Iterator[NDArray[np.int64]]:
    """Indices by stretches of time, for resampling what is not independent."""
    labels = ts_ns // round(seconds * 1e9)
    for label in np.unique(labels):
        yield np.flatnonzero(labels == label)
