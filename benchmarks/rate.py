"""Backtest rate: CMM and a baseline beside a strategy that only reads the touch; queue models beside
Nautilus' own queue, alternating in one run."""

from __future__ import annotations

import time
from decimal import Decimal
from statistics import median
from typing import Any

import msgspec
from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import BookType, InstrumentId, StrategyId
from nautilus_trader.trading import Strategy, StrategyConfig

from benchmarks.market import simulated_day
from engine.backtest.episode import Episode
from engine.backtest.nautilus_lane import run_day, stream_day
from engine.config import SHIPPED, Config
from engine.plan import Plan
from venues.simulation.queues import QueueConfig

_ROUNDS = 5
_QUEUES = ("nautilus", "pessimistic", "calibrated")


class TouchReader(Strategy):
    """Reads the best prices at each book update and does nothing."""

    def __init__(self, instrument: str) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("TOB-001")))
        self.failure = None
        self.updates = 0
        self._id = InstrumentId.from_str(instrument)

    def __new__(cls, *args: Any) -> TouchReader:
        made: TouchReader = super().__new__(cls, StrategyConfig(strategy_id=StrategyId("TOB-001")))  # type: ignore[call-arg]
        return made

    def on_start(self) -> None:
        self.subscribe_book_deltas(self._id, BookType.L2_MBP, managed=True)

    def on_book_deltas(self, deltas: object) -> None:
        self.updates += 1
        self.cache.top_of_book(self._id)


def _rate(episode: Episode) -> float:
    return episode.counts["book_updates"] / episode.wall_s


def main(seconds: float = 900.0) -> None:
    """Print updates a second and ratios."""
    config, free = Config(), MakerTakerFeeModel(Decimal(0), Decimal(0))
    with simulated_day(seconds) as (catalog, day):
        contract = catalog.contract(day)
        run_day(catalog, day, Plan(config, "foic", None, None))  # compile first
        reader = TouchReader(contract.id)
        started = time.perf_counter()
        stream_day(catalog, day, reader, free, balance=config.venue.starting_balance)
        base = reader.updates / (time.perf_counter() - started)
        print(f"backtest rate over {day.book_updates:,} book updates, median of {_ROUNDS} alternating runs")
        print(
            f"{'strategy, queue':<24}{'updates/s':>12}{'to reader':>11}{'to nautilus':>13}{'actions':>10}{'fills':>8}"
        )
        print(f"{'reads the touch':<24}{base:>12,.0f}{1.0:>11.2f}{'':>13}{0:>10}{0:>8}")
        for quoter, artifact in (("cmm", SHIPPED), ("foic", None)):
            rates: dict[str, list[float]] = {queue: [] for queue in _QUEUES}
            last: dict[str, Episode] = {}
            for _ in range(_ROUNDS):
                for queue in _QUEUES:
                    venue = msgspec.structs.replace(config.venue, queue=QueueConfig(model=queue))  # type: ignore[arg-type]
                    plan = Plan(msgspec.structs.replace(config, venue=venue), quoter, artifact, None)  # type: ignore[arg-type]
                    last[queue] = run_day(catalog, day, plan)
                    rates[queue].append(_rate(last[queue]))
            for queue in _QUEUES:
                ratio = median(a / b for a, b in zip(rates[queue], rates["nautilus"], strict=True))
                rate, recorder = median(rates[queue]), last[queue].recorder
                print(
                    f"{f'{quoter}, {queue}':<24}{rate:>12,.0f}{rate / base:>11.2f}{ratio:>13.2f}"
                    f"{sum(recorder.actions):>10,}{len(recorder.fills):>8,}"
                )


if __name__ == "__main__":
    main()
