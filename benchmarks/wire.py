"""From book update to order, at the socket: the whole trader beside the same adapter with a strategy that does nothing.

The exchange moves its book a few ticks and notes when the first order command that follows comes in.
Between lie its own encoding, two socket hops, the adapter, Nautilus, and the strategy: features,
forecast, ladder, guard, journal; or, beside it, one order sent blindly. Both run in turns.

Between moves the book changes as books do, fifty times a second, away from the touch. Our quotes
stand too wide for a move to fill them: a fill's messages would come first, and be measured with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.config import Config
from engine.drill import campaign as drill
from engine.drill.attempt import KEY, SECRET, Try
from market.events import ASK, BID, BookUpdate

_QUIET, _QUIET_S = 30, 0.02  # the adapter sends 20 commands a second and lets more wait: 0.6 s between moves
_MOVE_TICKS = 6
_TURNS = 2


class _Bench(Try):
    """A try whose market only ever moves up and down."""

    samples: list[int]
    _waiting = 0

    def _configure(self, base: Config, table: Path, quick: Path, quick_hash: str) -> Config:
        """One level a side, far out: a whole ladder moved at once would wait for the adapter."""
        config = super()._configure(base, table, quick, quick_hash)
        change = msgspec.structs.replace
        strategy = change(
            config.strategy,
            ladder=change(config.strategy.ladder, levels=1),
            cmm=change(config.strategy.cmm, floor_ticks=2.0 * _MOVE_TICKS),
        )
        return change(config, strategy=strategy)

    async def _feed(self) -> None:
        self.samples = []
        self.exchange.orders_per_s = 100_000
        self.exchange.on_command = self._command
        k = 0
        while True:
            k += 1
            base = 10_000 + _MOVE_TICKS * (k % 2)
            levels = [(BID, base - i, 50) for i in range(8)] + [(ASK, base + 2 + i, 50) for i in range(8)]
            self._waiting = time.perf_counter_ns()
            await self._show(levels, snapshot=True)
            for i in range(_QUIET):
                await asyncio.sleep(_QUIET_S)
                await self._show([(BID, base - 5, 50 + i % 2)], snapshot=False)

    async def _show(self, levels: list[tuple[int, int, int]], snapshot: bool) -> None:
        now = self.exchange.now_ns()
        await self.exchange.feed(BookUpdate("", now, now, levels, snapshot))

    def _command(self, op: str, at: int) -> None:
        if self._waiting:
            self.samples.append(time.perf_counter_ns() - self._waiting)
            self._waiting = 0

    async def start_naive(self) -> None:
        """Start the strategy that does nothing but send one command an update."""
        environment = {**os.environ, "CMM_BYBIT_KEY": KEY, "CMM_BYBIT_SECRET": SECRET}
        (self.folder / "state").mkdir(exist_ok=True)
        self.outputs.append(self.folder / "naive.log")
        with self.outputs[-1].open("wb") as log:
            self.trader = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "benchmarks.wire_naive",
                self.exchange.url,
                stdout=log,
                stderr=log,
                env=environment,
            )


async def _turn(folder: Path, is_naive: bool, samples: int, quick: Path, quick_hash: str) -> list[int]:
    bench = _Bench(folder, 1, quick, quick_hash, Config())
    try:
        await bench.open()
        await (bench.start_naive() if is_naive else bench.start())
        if not await bench.until(lambda: len(bench.samples) > 10 or bench.has_ended(), 60.0) or bench.has_ended():
            raise RuntimeError(f"no orders came: {bench.tail()}")
        bench.samples.clear()
        await bench.until(lambda: len(bench.samples) >= samples or bench.has_ended(), 120.0)
        return list(bench.samples)
    finally:
        await bench.close()


def main(samples: int = 75) -> None:
    """Print p50 and p99 of both in microseconds, and their ratio."""
    found: dict[str, list[int]] = {"one order, blindly": [], "the trader": []}
    with tempfile.TemporaryDirectory() as scratch:
        quick = Path(scratch) / "artifact"
        quick_hash = drill.quick_artifact(quick)
        for turn in range(_TURNS):
            for name, times in found.items():
                folder = Path(scratch) / f"{turn}-{len(name)}"
                times += asyncio.run(_turn(folder, name.startswith("one"), samples, quick, quick_hash))
    print(f"book update to first order command at the exchange's socket, µs, {_TURNS} turns of {samples}")
    print(f"{'':<22}{'n':>8}{'p50':>9}{'p99':>9}")
    medians: list[Any] = []
    for name, times in found.items():
        p50, p99 = np.quantile(np.array(times) / 1e3, [0.5, 0.99])
        medians.append(p50)
        print(f"{name:<22}{len(times):>8,}{p50:>9.0f}{p99:>9.0f}")
    print(f"ratio of the medians: {medians[1] / medians[0]:.2f}")
