"""Queue models: how a resting order of ours moves up among the lots that a level book shows.

A level book says how many lots rest at a price, not whose. Trades take from the front; a cancel may
stand before us or behind us, and which it is decides who fills. The models differ in that alone:

- `Pessimistic`: cancels are behind us as long as they can be; only trades (and a level that shows
  less than our queue) advance us. `Optimistic`: cancels are before us. No queue of a market without
  hidden orders advances slower than the first or faster than the second.
- `Power(n)`: of a cancelled lot the share b^n / (f^n + b^n) is behind us, with f lots before and b
  behind (Rigtorp 2013, "Estimating order queue position"; hftbacktest's PowerProbQueueModel). n = 1,
  `Proportional`, cancels every lot alike.
- `Fifo`: exact, where the recording names orders (L3).
- `Nautilus`: what NautilusTrader's own matching engine does, for comparison.

The rules are compiled functions over one order's `PLACE` record; every lane calls these very functions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import msgspec
import numpy as np

from market.compiled import inlined, record_of


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where our orders stand in their queues.

    Parameters
    ----------
    model : str
        `calibrated` (as `cmm calibrate` fitted it to this instrument on earlier days, else as shipped),
        `pessimistic`, `optimistic`, `proportional`, `power` (n, bias), `fifo` (recordings that name
        orders) or `nautilus` (NautilusTrader's own).
    n, bias : float
        Of `power`.
    file : str, optional
        A calibration to use, instead of the one found.

    """

    model: Literal["calibrated", "pessimistic", "optimistic", "proportional", "power", "fifo", "nautilus"] = (
        "calibrated"
    )
    n: float = 1.0
    bias: float = 0.0
    file: str | None = None


FOREVER: Final = 1 << 62
_SHRINKS_KEPT: Final = 16
_BEHIND, _BEFORE, _BY_POWER, _BY_ID = range(4)  # kinds: where a cancel stood

QUEUE_RULES = np.dtype(
    [
        ("kind", np.int64),
        ("n", np.float64),  # exponent of a power
        ("odds", np.float64),  # in favour of behind
        ("books_first", np.bool_),
        ("fills_through", np.bool_),
        ("snapshots", np.bool_),  # trades are those of the interval since the last book
        ("shared", np.bool_),  # orders of ours at one price share one queue
    ],
    align=True,
)
"""What a matcher goes by."""

PLACE = np.dtype(
    [
        ("key", np.int64),
        ("side", np.int64),
        ("price", np.int64),  # ticks
        ("left", np.int64),  # lots not yet filled
        ("fill", np.int64),  # lots that are ours and not yet claimed
        ("ahead", np.float64),  # lots of others before us
        ("shown", np.int64),  # lots of others at the level, as last seen
        ("credit", np.float64),  # lots that traded here and whose shrink of the level has not been seen yet
        ("credit_ns", np.int64),  # exchange time of the last of them
        ("seen_ns", np.int64),  # exchange time of the book that stood when the order arrived
        ("from_ns", np.int64),  # when the order arrived
        ("until_ns", np.int64),  # when its cancel did
        ("row", np.int64),  # rows of the recording before it joined: what joined its level earlier stands before it
        ("beyond_depth", np.bool_),  # the recording shows nothing at this price: the queue is unknown
        ("shrinks", np.int64),  # shrinks kept
        ("shrink_ns", np.int64, (_SHRINKS_KEPT,)),  # seen before the trades that may explain them: exchange time,
        ("shrink_lots", np.float64, (_SHRINKS_KEPT,)),  # lots,
        ("shrink_advance", np.float64, (_SHRINKS_KEPT,)),  # and how far they advanced us
    ],
    align=True,
)
"""One resting order of ours and its place in the queue of its level; times in ns."""


@inlined
def join(place, shown, row):  # type: ignore[no-untyped-def]
    """Our order joins a level that shows `shown` lots of others, after `row` rows of the recording."""
    place.shown = shown
    place.ahead = float(shown)
    place.row = row


@inlined
def traded(rules, place, lots, own, ts_event):  # type: ignore[no-untyped-def]
    """`lots` traded at our price, `own` of them with orders of ours that stand before this one."""
    if not rules.books_first:
        place.credit += lots
    elif ts_event <= place.seen_ns:  # the book we joined had this trade in it
        return
    else:
        place.credit += _take_back(place, lots, ts_event)
    place.credit_ns = max(place.credit_ns, ts_event)
    place.ahead -= lots - own


@inlined
def filled(place):  # type: ignore[no-untyped-def]
    """Lots of the last trade that went past our queue, to the nearest whole lot."""
    if place.ahead >= 0.0:
        return 0
    reached = int(0.5 - place.ahead)
    place.ahead = 0.0
    return min(reached, place.left - place.fill)


@inlined
def changed(rules, place, size, ts_event, stood, joined):  # type: ignore[no-untyped-def]
    """The level shows `size` lots now.

    Where the recording names orders, the one behind this change had `stood` lots here before it, and had
    last joined the end of the queue with the recording's row `joined`.
    """
    before = place.shown
    place.shown = size
    shrink = before - size
    if rules.kind == _BY_ID:
        if stood > 0 and joined < place.row:
            gone = stood if shrink < 0 else min(shrink, stood)  # one that grows loses its place
            explained = min(float(gone), place.credit)
            place.credit -= explained
            place.ahead = max(place.ahead - (gone - explained), 0.0)
        return
    if shrink > 0:
        standing = before - place.credit
        explained = min(float(shrink), place.credit)
        place.credit -= explained
        cancelled = shrink - explained
        if cancelled > 0:
            was = place.ahead
            back = max(standing - was, 0.0)
            behind = min(cancelled * _share_behind(rules, was, back), back)
            place.ahead = min(max(was - (cancelled - behind), 0.0), float(size))
            if rules.books_first:
                _keep_shrink(place, ts_event, cancelled, was - place.ahead)
    if ts_event >= place.credit_ns:
        place.credit = 0.0
    place.ahead = min(place.ahead, float(size))


@inlined
def _share_behind(rules, front, back):  # type: ignore[no-untyped-def]
    """Share of a cancel that stood behind us, with `front` lots before us and `back` behind."""
    if rules.kind == _BEHIND:
        return 1.0
    if rules.kind == _BEFORE or back <= 0.0:
        return 0.0
    if front <= 0.0:
        return 1.0
    weight = rules.odds * (back / front) ** rules.n
    return weight / (1.0 + weight) if weight < np.inf else 1.0


@inlined
def _keep_shrink(place, ts_event, lots, advance):  # type: ignore[no-untyped-def]
    """Remember a shrink that a trade may still explain; the oldest is forgotten where there are too many."""
    n = place.shrinks
    if n == _SHRINKS_KEPT:
        n -= 1
        for i in range(n):
            _move_shrink(place, i + 1, i)
    place.shrink_ns[n] = ts_event
    place.shrink_lots[n] = lots
    place.shrink_advance[n] = advance
    place.shrinks = n + 1


@inlined
def _move_shrink(place, source, target):  # type: ignore[no-untyped-def]
    place.shrink_ns[target] = place.shrink_ns[source]
    place.shrink_lots[target] = place.shrink_lots[source]
    place.shrink_advance[target] = place.shrink_advance[source]


@inlined
def _take_back(place, lots, ts_event):  # type: ignore[no-untyped-def]
    """Match a trade with shrinks already seen, and take back what they advanced us as cancels, lest they count
    twice; return the lots that no shrink explains."""
    rest = float(lots)
    for i in range(place.shrinks):
        if rest <= 0.0:
            break
        if place.shrink_ns[i] >= ts_event:
            part = min(rest, place.shrink_lots[i])
            share = part / place.shrink_lots[i]
            place.ahead += place.shrink_advance[i] * share
            place.shrink_lots[i] -= part
            place.shrink_advance[i] -= place.shrink_advance[i] * share
            rest -= part
    kept = 0
    for i in range(place.shrinks):
        if place.shrink_lots[i] > 0.0:
            if kept < i:
                _move_shrink(place, i, kept)
            kept += 1
    place.shrinks = kept
    return rest


class QueueModel:
    """One model with its parameters.

    Parameters
    ----------
    books_first : bool
        The feed shows a level shrink before the trade that shrank it (as Binance's best quotes do).
        A trade then looks for its shrink among those already seen, and what that shrink advanced us
        as a cancel is taken back, lest it count twice.

    """

    name: ClassVar[str]
    fills_through: ClassVar[bool] = True
    """Whether a trade beyond our price finds our queue used up and fills us."""
    kind: ClassVar[int]

    def __init__(self, books_first: bool = False) -> None:
        self.books_first = books_first
        self.n, self.bias = 1.0, 0.0

    @property
    def is_exact(self) -> bool:
        """Whether it needs a recording that names orders."""
        return self.kind == _BY_ID

    def rules(self, *, snapshots: bool, shared: bool) -> Any:
        """The `QUEUE_RULES` record of a matcher with this model."""
        return record_of(
            QUEUE_RULES,
            kind=self.kind,
            n=self.n,
            odds=2.718281828459045**self.bias,
            books_first=self.books_first,
            fills_through=self.fills_through,
            snapshots=snapshots,
            shared=shared,
        )


class Pessimistic(QueueModel):
    """Cancels stand behind us as long as the level leaves room for that."""

    name, kind = "pessimistic", _BEHIND


class Optimistic(QueueModel):
    """Cancels stand before us."""

    name, kind = "optimistic", _BEFORE


class Power(QueueModel):
    """Cancels fall before or behind us by a power of the lots there.

    Parameters
    ----------
    n : float
        Exponent; the larger, the surer that a cancel comes from the longer part of the queue.
        Below 0 the shorter part cancels more.
    bias : float
        Log odds added in favour of behind: late orders that cancel more than early ones.

    """

    name, kind = "power", _BY_POWER

    def __init__(self, n: float, bias: float = 0.0, books_first: bool = False) -> None:
        super().__init__(books_first)
        self.n, self.bias = n, bias


class Proportional(Power):
    """Every lot is as likely to be cancelled as any other."""

    name = "proportional"

    def __init__(self, books_first: bool = False) -> None:
        super().__init__(1.0, 0.0, books_first)


class Fifo(QueueModel):
    """Exact: the orders before us are known by id. One that grows loses its place."""

    name, kind = "fifo", _BY_ID


class Nautilus(Pessimistic):
    """NautilusTrader 2.0.0rc7's queue: a trade beyond our price fills nobody, a shrink and its late
    trade count twice. Only to compare with: in a backtest that queue runs in Nautilus itself."""

    name = "nautilus"
    fills_through = False

    def __init__(self, books_first: bool = False) -> None:
        super().__init__(books_first=False)


def make_queue(config: QueueConfig, *, books_first: bool) -> QueueModel | None:
    """The queue model of a configuration in which `calibrated` has been resolved; None is Nautilus' own.

    `books_first`: the feed tells of a level's shrink before the trade that explains it.
    """
    if config.model == "nautilus":
        return None
    if config.model == "power":
        return Power(config.n, config.bias, books_first)
    simple: dict[str, type[QueueModel]] = {
        "fifo": Fifo,
        "pessimistic": Pessimistic,
        "optimistic": Optimistic,
        "proportional": Proportional,
    }
    return simple[config.model](books_first)
