"""Peak memory of import and backtest for a market and one twice as long: what grows and what does not."""

from __future__ import annotations

import multiprocessing
import resource
from multiprocessing.connection import Connection

from benchmarks.market import simulated_day
from engine.backtest.nautilus_lane import run_day
from engine.config import SHIPPED, Config
from engine.plan import Plan

_LENGTHS_S = (1800.0, 3600.0, 7200.0)


def main(*, as_json: bool = False) -> None:
    """Print peak resident memory in MB, each in a process of its own."""
    print(f"{'simulated minutes':<20}{'updates':>10}{'actions':>10}{'import MB':>12}{'backtest MB':>13}")
    context = multiprocessing.get_context("spawn")
    for seconds in _LENGTHS_S:
        ours, theirs = context.Pipe()
        process = context.Process(target=_measure, args=(seconds, theirs))
        process.start()
        updates, actions, imported, traded = ours.recv()
        process.join()
        print(f"{seconds / 60:<20.0f}{updates:>10,}{actions:>10,}{imported:>12,.0f}{traded:>13,.0f}")


def _measure(seconds: float, out: Connection) -> None:
    with simulated_day(seconds) as (catalog, day):
        imported = _peak_mb()
        episode = run_day(catalog, day, Plan(Config(), "cmm", SHIPPED, None))
        out.send((day.book_updates, sum(episode.recorder.actions), imported, _peak_mb()))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


if __name__ == "__main__":
    main()
