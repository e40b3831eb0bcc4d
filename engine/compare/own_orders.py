"""A run's very orders in the simulated exchange: what the assumed queue would have given them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nautilus_trader.model import ClientOrderId, Currency, Money, OrderBookDeltas, TradeTick

from engine.assembly import make_exchange
from engine.backtest.run_record import Fill
from engine.compare.records import Log
from engine.compare.timing import Arrival
from engine.plan import TradingPlan
from market.contracts import Contract
from market.nautilus import batches
from strategies.values import Kind
from venues.recordings.catalog import Catalog, Day
from venues.simulation.fees import FeeSchedule

_GRACE_NS = 1_000_000_000
"""An order that the real exchange filled stays so much longer: the simulated queue may be that much slower."""

type _Step = tuple[int, int, str, int, int, int]
"""When, what (0 rest, 1 amend, 2 leave), key, side, price, lots."""

_REST, _AMEND, _LEAVE = range(3)


def trade_again(plan: TradingPlan, catalog: Catalog, day: Day, log: Log, found: Sequence[Arrival]) -> list[Fill]:
    """Let a run's orders rest in the simulated exchange when they rested in the real one; return their fills there.

    Parameters
    ----------
    plan : TradingPlan
        Its queue and fees.
    catalog : Catalog
    day : Day
        The market.
    log : Log
        The run's orders.
    found : sequence of Arrival
        When its commands took effect.

    """
    exchange = make_exchange(plan)
    steps = iter(_steps(log, found, holds_cancels=plan.snapshots))
    step = next(steps, None)
    fills: list[Fill] = []
    done: Counter[str] = Counter()
    sides: dict[str, int] = {}
    ended: list[ClientOrderId] = []
    for event in _events(catalog, day):
        for key in ended:
            exchange.remove(key)
        ended = []
        while step is not None and step[0] <= event.ts_init:
            at, what, name, side, price, lots = step
            key = ClientOrderId(name)
            if what == _REST:
                sides[name] = side
                exchange.rest(key, side, price, lots, at)
            elif what == _AMEND and lots > done[name]:
                exchange.resize(key, lots - done[name])
            elif exchange.cancel(key, at):
                exchange.remove(key)
            step = next(steps, None)
        for place in exchange.see(event):
            assert isinstance(place.key, ClientOrderId)
            lots, name = exchange.claim(place.key), str(place.key)
            if lots:
                done[name] += lots
                cost = charge(exchange.fees, plan.contract, sides[name], place.price, lots)
                fills.append(Fill(event.ts_init, sides[name], place.price, lots, True, False, cost))
        if not isinstance(event, TradeTick):
            ended = exchange.end_interval()
    return fills


def charge(fees: FeeSchedule, contract: Contract, side: int, price: int, lots: int, *, is_maker: bool = True) -> float:
    """What a fill costs by a schedule, rounded as an account rounds it."""
    cost = fees.charge(side, price, lots, is_maker=is_maker)
    return float(Money(cost, Currency.from_str(contract.terms.currency)).as_double())


def _steps(log: Log, found: Sequence[Arrival], *, holds_cancels: bool) -> list[_Step]:
    """What happened to the run's orders, in order of time.

    Where an exchange holds cancels until a snapshot's interval ends, their answers do not tell when they arrived:
    they took as long as the placements before them.
    """
    placed = {a.sent.key: a.sent for a in found if a.sent.kind == Kind.PLACE and a.was_taken}
    steps: list[_Step] = []
    left: set[str] = set()
    took = 0
    fills: dict[str, list[tuple[int, int]]] = {}
    for fill in log.filled:
        fills.setdefault(fill.key, []).append((fill.now_ns, fill.lots))
    total = {key: sent.lots for key, sent in placed.items()}
    for at, sent, taken in ((a.ts_ns, a.sent, a.was_taken) for a in found):
        if sent.key not in placed or not taken:
            continue
        if sent.kind == Kind.PLACE:
            took = at - sent.now_ns
            steps.append((at, _REST, sent.key, sent.side, sent.price, sent.lots))
        elif sent.kind == Kind.AMEND:  # it names what is to rest besides what we knew had filled
            known = sum(lots for ts, lots in fills.get(sent.key, ()) if ts <= sent.now_ns)
            total[sent.key] = known + sent.lots
            steps.append((at, _AMEND, sent.key, sent.side, sent.price, known + sent.lots))
        else:
            left.add(sent.key)
            at = sent.now_ns + took if holds_cancels else at
            steps.append((at, _LEAVE, sent.key, sent.side, sent.price, 0))
    for answer in log.answered:
        if answer.what == "gone" and answer.key in placed and answer.key not in left:  # nobody had asked for it
            sent = placed[answer.key]
            steps.append((answer.now_ns, _LEAVE, answer.key, sent.side, sent.price, 0))
    for key, rows in fills.items():
        if key in placed and key not in left and sum(lots for _, lots in rows) >= total[key]:
            steps.append((rows[-1][0] + _GRACE_NS, _LEAVE, key, placed[key].side, placed[key].price, 0))
    return sorted(steps, key=lambda step: step[0])


def _events(catalog: Catalog, day: Day) -> Iterator[TradeTick | OrderBookDeltas]:
    for deltas, trades in catalog.chunks(day):
        both: list[TradeTick | OrderBookDeltas] = [*batches(deltas), *trades]
        yield from sorted(both, key=lambda event: event.ts_init)
