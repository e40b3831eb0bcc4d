"""Backtest rate: CMM and a baseline beside Nautilus with a strategy that only reads the touch."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from nautilus_trader.execution import MakerTakerFeeModel
from nautilus_trader.model import BookType, InstrumentId, StrategyId
from nautilus_trader.trading import Strategy, StrategyConfig

from benchmarks.market import simulated_day
from engine.backtest import Plan, run_day, stream_day
from engine.config import SHIPPED, Config


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


def main(seconds: float = 1800.0) -> None:
    """Print updates a second and the ratio to the reader."""
    config, free = Config(), MakerTakerFeeModel(Decimal(0), Decimal(0))
    with simulated_day(seconds) as (catalog, day):
        contract = catalog.contract(day)
        run_day(catalog, day, Plan(config, "foic", None, None))  # compile first
        reader = TouchReader(contract.id)
        started = time.perf_counter()
        stream_day(catalog, day, contract, reader, free, config, lambda: 0.0)
        base = reader.updates / (time.perf_counter() - started)
        print(f"backtest rate over {day.book_updates:,} book updates")
        print(f"{'strategy':<24}{'updates/s':>12}{'ratio':>8}{'actions':>10}{'fills':>8}")
        print(f"{'reads the touch':<24}{base:>12,.0f}{1.0:>8.2f}{0:>10}{0:>8}")
        for quoter, artifact in (("cmm", SHIPPED), ("foic", None)):
            episode = run_day(catalog, day, Plan(config, quoter, artifact, None))  # type: ignore[arg-type]
            rate = episode.counts["book_updates"] / episode.wall_s
            actions = sum(episode.tape.actions)
            print(f"{quoter:<24}{rate:>12,.0f}{rate / base:>8.2f}{actions:>10,}{len(episode.tape.fills):>8,}")


if __name__ == "__main__":
    main()
