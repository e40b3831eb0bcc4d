"""Eight hours of a market through a live node at the paper venue: memory by order actions, latency first and last."""

from __future__ import annotations

import datetime as dt
import resource
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from engine.config import SHIPPED, Config
from engine.live.trading.paper_run import replay_day
from engine.plan import Plan
from market.contracts import ContractTable
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_events
from venues.recordings.simulator import simulate
from venues.simulation.queues import QueueConfig


def main(hours: float = 8.0) -> None:
    """Print resident memory against order actions, and decision latency in the first and last eighth."""
    with tempfile.TemporaryDirectory() as scratch:
        catalog = Catalog(Path(scratch) / "data", ContractTable())
        start = int(dt.datetime(2020, 3, 2, 9, tzinfo=dt.UTC).timestamp()) * 10**9
        events = simulate(3, hours * 3600, start)
        day = import_events(catalog, events, "sim", "simulator", [], Counter(), lambda *_: None).days[0]
        marks: list[tuple[float, int]] = []
        plan = Plan(Config(), "cmm", SHIPPED, None, QueueConfig(model="power", n=1.1, bias=0.6))

        def note(_: dt.date, share: float) -> None:
            if share >= len(marks) / 16:
                marks.append((share, _resident()))

        journal = Path(scratch) / "journal.jsonl"
        episode = replay_day(catalog, day, plan, 0.0, journal, note)
        size = journal.stat().st_size
    actions = sum(episode.recorder.actions)
    recorder = episode.recorder.ts_ns.nbytes + episode.recorder.touch.base.nbytes + episode.recorder.forecasts.nbytes
    half = [resident for share, resident in marks if share >= 0.5]
    grown = (half[-1] - half[0]) / 1e6
    print(
        f"{hours:g} hours of a simulated market in {episode.wall_s:.0f} s: {len(episode.recorder.ts_ns):,} book updates"
    )
    print(f"{actions:,} order actions, {len(episode.recorder.fills):,} fills, journal {size / 1e6:,.0f} MB")
    print("resident MB by share of the day: " + ", ".join(f"{share:.2f} {mb / 1e6:.0f}" for share, mb in marks[::3]))
    print(
        f"in the second half {grown:.0f} MB, {grown / (actions / 2) * 1e5:.1f} MB per 100k order actions "
        f"(of that the recorder, kept for the report: {recorder / 2e6 / (actions / 2) * 1e5:.1f})"
    )
    times = episode.recorder.decision_ns / 1e3
    eighth = len(times) // 8
    for name, part in (("first", times[:eighth]), ("last", times[-eighth:])):
        p50, p99 = np.quantile(part, [0.5, 0.99])
        print(f"decision in the {name} eighth: p50 {p50:.0f} µs, p99 {p99:.0f} µs")


def _resident() -> int:
    """Bytes resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
