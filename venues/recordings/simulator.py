"""A simulated market: queue-reactive order flow with calm and volatile regimes.

After Huang, Lehalle and Rosenbaum 2015, "Simulating and analyzing order book data: the
queue-reactive model": limit orders, cancels and market orders arrive at each queue with intensities
that depend on that queue's size; when a best queue is used up, the reference price moves with
probability θ. Two things are added: a regime that switches between calm and volatile, and a slowly
changing pressure that tilts buying against selling, so that flow and book imbalance say a little
about the next move.

What it is not: it is fitted to no market. Nobody in it reacts to our orders, there are no news, no
jumps, no hidden liquidity, no day's pattern, and its spread and depth are far more regular than any
real book's. A profit made here says that the machinery works, nothing about a real market.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.compiled import allocating
from market.events import ASK, BID, BUY, SELL, BookUpdate, Event, Level, OrderUpdate, Trade

SYMBOL = "QR.SIM"
_BATCH = 20_000
_ROWS_PER_EVENT = 8
_BOOK, _TRADE = 0, 1

# scalars of the state
_T, _BASE, _PRESSURE, _VOLATILE = range(4)


class MarketConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Intensities per second and sizes in lots.

    Parameters
    ----------
    limit : tuple[float, …]
        Limit orders at each level, best first; as many levels a side as there are numbers.
    cancel : float
        Cancels of one lot, a lot in the queue.
    market : float
        Market orders a side in a calm, balanced market.
    order_lots : float
        Mean size of limit and market orders (geometric).
    theta : float
        Probability that the reference price follows when a best queue is used up.
    volatile_market, volatile_cancel : float
        Factors of the volatile regime.
    calm_s, volatile_s : float
        Mean duration of the regimes.
    pressure : float
        Standard deviation of the log tilt between buying and selling.
    pressure_s : float
        Its mean-reversion time.
    start_ticks : int
        Reference price at the start.

    """

    limit: tuple[float, ...] = (1.6, 1.3, 1.0, 0.8, 0.6, 0.5, 0.4, 0.4)
    cancel: float = 0.06
    market: float = 0.85
    order_lots: float = 3.0
    theta: float = 0.75
    volatile_market: float = 1.9
    volatile_cancel: float = 1.8
    calm_s: float = 240.0
    volatile_s: float = 90.0
    pressure: float = 0.2
    pressure_s: float = 10.0
    start_ticks: int = 10_000


@allocating
def _emit(out, row, event, kind, side, price, size):  # type: ignore[no-untyped-def]
    out[row, 0], out[row, 1], out[row, 2], out[row, 3], out[row, 4] = event, kind, side, price, size
    return row + 1


@allocating
def _price(base, side, level):  # type: ignore[no-untyped-def]
    return base - level if side == 0 else base + 1 + level


@allocating
def _best(queue):  # type: ignore[no-untyped-def]
    for i in range(queue.shape[0]):
        if queue[i] > 0:
            return i
    return -1


@allocating
def _move(queues, state, side, depth, out, row, event, rng, mean_size):  # type: ignore[no-untyped-def]
    """The reference price follows a used-up best queue of `side`: queues shift by a tick."""
    other = 1 - side
    last = queues.shape[1] - 1
    base = int(state[_BASE])
    row = _emit(out, row, event, _BOOK, other + 1, _price(base, other, last), 0)
    for i in range(last):
        queues[side, i] = queues[side, i + 1]
    for i in range(last, 0, -1):
        queues[other, i] = queues[other, i - 1]
    queues[other, 0] = 0
    queues[side, last] = depth + rng.geometric(1.0 / mean_size)
    state[_BASE] = base + (-1 if side == 0 else 1)
    price = _price(int(state[_BASE]), side, last)
    return _emit(out, row, event, _BOOK, side + 1, price, queues[side, last])


@allocating
def _run(rng, queues, state, limit, p, out, times, count):  # type: ignore[no-untyped-def]
    """Simulate `count` events; rows (event, kind, side, price, size) into `out`. Returns rows written.

    p: cancel, market, mean size, theta, volatile market, volatile cancel, calm_s, volatile_s,
    pressure, pressure_s.
    """
    levels = limit.shape[0]
    rates = np.zeros((2, 2 * levels + 1))
    row = 0
    event = 0
    while event < count:
        volatile = state[_VOLATILE] > 0.0
        cancel = p[0] * (p[5] if volatile else 1.0)
        market = p[1] * (p[4] if volatile else 1.0)
        total = 0.0
        for side in range(2):
            tilt = np.exp(state[_PRESSURE] if side == 1 else -state[_PRESSURE])  # buyers hit asks
            for i in range(levels):
                crowding = 1.0 / (1.0 + 0.01 * queues[side, i])
                rates[side, i] = limit[i] * crowding * (1.0 / tilt) ** 0.5
                rates[side, levels + i] = cancel * queues[side, i]
                total += rates[side, i] + rates[side, levels + i]
            rates[side, 2 * levels] = market * tilt
            total += rates[side, 2 * levels]
        dt = rng.exponential(1.0 / total)
        state[_T] += dt
        keep = np.exp(-dt / p[9])
        state[_PRESSURE] = keep * state[_PRESSURE] + p[8] * np.sqrt(1.0 - keep * keep) * rng.standard_normal()
        if rng.random() < dt / (p[7] if volatile else p[6]):
            state[_VOLATILE] = 1.0 - state[_VOLATILE]
        pick = rng.random() * total
        side, place = 0, 0
        for k in range(2 * (2 * levels + 1)):
            side, place = k // (2 * levels + 1), k % (2 * levels + 1)
            pick -= rates[side, place]
            if pick <= 0.0:
                break
        base = int(state[_BASE])
        first = row
        if place < levels:
            queues[side, place] += rng.geometric(1.0 / p[2])
            row = _emit(out, row, event, _BOOK, side + 1, _price(base, side, place), queues[side, place])
        elif place < 2 * levels:
            i = place - levels
            if queues[side, i] > 0:
                queues[side, i] -= min(rng.geometric(1.0 / p[2]), queues[side, i])
                row = _emit(out, row, event, _BOOK, side + 1, _price(base, side, i), queues[side, i])
        else:
            left = rng.geometric(1.0 / p[2])
            while left > 0:
                i = _best(queues[side])
                if i < 0 or i > 2:
                    break
                size = min(left, queues[side, i])
                queues[side, i] -= size
                left -= size
                row = _emit(out, row, event, _TRADE, side + 1, _price(base, side, i), size)
                row = _emit(out, row, event, _BOOK, side + 1, _price(base, side, i), queues[side, i])
        if row == first:
            continue
        if queues[side, 0] == 0 and (place == levels or place == 2 * levels) and rng.random() < p[3]:
            row = _move(queues, state, side, 4, out, row, event, rng, p[2])
        times[event] = state[_T]
        event += 1
    return row


def simulate(seed: int, seconds: float, start_ns: int, config: MarketConfig | None = None) -> Iterator[Event]:
    """Yield the events of a simulated market, the same for the same seed.

    Parameters
    ----------
    seed : int
    seconds : float
        Length of the market.
    start_ns : int
        Its first moment.
    config : MarketConfig, optional

    """
    c = config or MarketConfig()
    rng = np.random.Generator(np.random.PCG64(seed))
    limit = np.asarray(c.limit, np.float64)
    parameters = np.array(
        [c.cancel, c.market, c.order_lots, c.theta, c.volatile_market, c.volatile_cancel, c.calm_s, c.volatile_s,
         c.pressure, c.pressure_s]
    )  # fmt: skip
    queues = rng.integers(8, 25, (2, len(limit)))
    state = np.array([0.0, float(c.start_ticks), 0.0, 0.0])
    yield BookUpdate(SYMBOL, start_ns, start_ns, _levels(queues, c.start_ticks), snapshot=True)
    out = np.zeros((_BATCH * _ROWS_PER_EVENT, 5), np.int64)
    times = np.zeros(_BATCH, np.float64)
    while state[_T] < seconds:
        rows = _run(rng, queues, state, limit, parameters, out, times, _BATCH)
        yield from _events(out[:rows], times, start_ns, seconds)


def _levels(queues: NDArray[np.int64], base: int) -> list[Level]:
    return [
        (side, base - i if side == BID else base + 1 + i, int(size))
        for side, queue in ((BID, queues[0]), (ASK, queues[1]))
        for i, size in enumerate(queue)
    ]


def _events(rows: NDArray[np.int64], times: NDArray[np.float64], start_ns: int, seconds: float) -> Iterator[Event]:
    """Rows of one event: its trades first, then one book update."""
    changes: dict[tuple[int, int], int] = {}
    current = -1
    ts = start_ns
    for event, kind, side, price, size in rows.tolist():
        if event != current:
            if changes:
                yield BookUpdate(SYMBOL, ts, ts, [(*key, lots) for key, lots in changes.items()])
                changes = {}
            if times[event] >= seconds:
                return
            current, ts = event, start_ns + round(float(times[event]) * 1e9)
        if kind == _TRADE:
            yield Trade(SYMBOL, ts, ts, price, size, SELL if side == BID else BUY)
        else:
            changes[side, price] = size
    if changes:
        yield BookUpdate(SYMBOL, ts, ts, [(*key, lots) for key, lots in changes.items()])


def simulate_orders(
    seed: int, seconds: float, start_ns: int, config: MarketConfig | None = None, recency: float = 1.0
) -> Iterator[Event]:
    """The same market with its queues known order by order (L3): what `simulate` shows, and by whom.

    Parameters
    ----------
    seed, seconds, start_ns, config
        As for `simulate`.
    recency : float
        Which lots of a queue cancel: log odds of the last lot over the first. 0 cancels every lot
        alike; in real queues those who came last leave first.

    """
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    queues: dict[tuple[int, int], list[list[int]]] = {}
    traded: dict[tuple[int, int], int] = {}
    newest = 0
    for event in simulate(seed, seconds, start_ns, config):
        if isinstance(event, Trade):
            yield event
            traded[BID if event.aggressor == SELL else ASK, event.price] = event.size
            continue
        assert isinstance(event, BookUpdate)
        updates: list[tuple[int, int, int, int]] = []
        for side, price, size in event.levels:
            queue = queues.setdefault((side, price), [])
            change = size - sum(lots for _, lots in queue)
            if change > 0:
                newest += 1
                queue.append([newest, change])
                updates.append((newest, side, price, change))
            from_front = min(traded.pop((side, price), 0), -change)
            for index in [0] * from_front + [-1] * (-change - max(from_front, 0)):
                place = index if index == 0 else _leaver(queue, rng, recency)
                queue[place][1] -= 1
                updates.append((queue[place][0], side, price, queue[place][1]))
                if not queue[place][1]:
                    del queue[place]
        traded.clear()
        last: dict[int, tuple[int, int, int, int]] = {}
        for update in updates:  # one update an order: its last state
            last[update[0]] = update
        for i, (oid, side, price, size) in enumerate(last.values()):
            yield OrderUpdate(SYMBOL, event.ts_event, event.ts_recv, oid, side, price, size, last=i == len(last) - 1)


def _leaver(queue: list[list[int]], rng: np.random.Generator, recency: float) -> int:
    """The order that cancels a lot: lots weighted by exp(recency · place from 0, front, to 1, back)."""
    if len(queue) == 1:
        return 0
    lots = np.array([size for _, size in queue], np.float64)
    places = np.linspace(0.0, 1.0, len(queue))
    weights = lots * np.exp(recency * places)
    return int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
