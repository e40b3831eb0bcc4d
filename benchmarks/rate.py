"""Backtest rate: every lane, and a peer, on the same recordings with the same quoters and ladder, alternating in one run.

`python -m benchmarks rate [--json]`. A lane's figure is its best round by processor time: on a busy machine a round
only ever takes longer than it has to.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.card import Card, card, load, pin
from benchmarks.legs import QUOTERS, Leg, Took, legs
from benchmarks.markets import Timeable, markets

_ROUNDS = 5
NO_PEER = (
    "hftbacktest is skipped: it is not installed (make bench installs it; or pip install --no-deps -c constraints.txt "
    "hftbacktest, whose own requirements hold numpy below 2.3)"
)


class Rate(msgspec.Struct, frozen=True):
    """One lane on one recording with one quoter.

    Parameters
    ----------
    recording, quoter, lane : str
    updates_per_s : int
        Book updates a second of processor time.
    updates_per_wall_s : int
        A second on the wall.
    traded : str
        What of the recording.
    updates, actions, fills : int
    cpu_s, wall_s : float
        Of the best round by processor time.
    models : str
        What the lane models, and what was timed.

    """

    recording: str
    quoter: str
    lane: str
    updates_per_s: int
    updates_per_wall_s: int
    traded: str
    updates: int
    actions: int
    fills: int
    cpu_s: float
    wall_s: float
    models: str


class Ratio(msgspec.Struct, frozen=True):
    """How many times the fast lane's updates a second are another's, by processor time; None where that did not run."""

    recording: str
    quoter: str
    fast_to_nautilus: float | None
    fast_to_hftbacktest: float | None


class Rates(msgspec.Struct, frozen=True):
    """What was measured, on what, and what was skipped."""

    card: Card
    rounds: int
    figure: str
    rates: list[Rate]
    ratios: list[Ratio]
    skipped: list[str]


def measure(
    found: Callable[[Path, list[str]], Iterator[Timeable]], rounds: int = _ROUNDS, core: int | None = None
) -> Rates:
    """Time all legs on all markets.

    Parameters
    ----------
    found : callable
        As `benchmarks.markets.markets`.
    rounds : int
        Of each leg; one more before them compiles and fills caches.
    core : int, optional
        The one that this process is pinned to.

    """
    before = load()
    skipped: list[str] = []
    rates: list[Rate] = []
    others = _peers(skipped)
    with tempfile.TemporaryDirectory(prefix="cmm-bench-") as scratch:
        for market in found(Path(scratch), skipped):
            for quoter, artifact in QUOTERS:
                rates += _alternate(market, quoter, legs(market, quoter, artifact, others), rounds)
    figure = f"best of {rounds} alternating rounds, by processor time"
    return Rates(card(core, before), rounds, figure, rates, _ratios(rates), skipped)


def _peers(skipped: list[str]) -> list[Callable[..., Leg]]:
    if importlib.util.find_spec("hftbacktest") is None:
        skipped.append(NO_PEER)
        return []
    from benchmarks.peer import HftBacktest

    return [HftBacktest]


def _alternate(market: Timeable, quoter: str, ready: Sequence[Leg], rounds: int) -> list[Rate]:
    for leg in ready:
        leg.run()
    taken: list[list[Took]] = [[] for _ in ready]
    for _ in range(rounds):
        for leg, runs in zip(ready, taken, strict=True):
            runs.append(leg.run())
    best = [min(runs, key=lambda took: took.time.cpu_s) for runs in taken]
    return [_rate(market.name, quoter, leg, took) for leg, took in zip(ready, best, strict=True)]


def _rate(recording: str, quoter: str, leg: Leg, took: Took) -> Rate:
    cpu, wall = took.time
    return Rate(
        recording, quoter, leg.lane, round(took.updates / cpu), round(took.updates / wall), leg.traded,
        took.updates, took.actions, took.fills, round(cpu, 4), round(wall, 4), leg.models,
    )  # fmt: skip


def _ratios(rates: Sequence[Rate]) -> list[Ratio]:
    by_lane: dict[tuple[str, str], dict[str, int]] = {}
    for rate in rates:
        by_lane.setdefault((rate.recording, rate.quoter), {})[rate.lane] = rate.updates_per_s
    return [
        Ratio(*key, *(_times(lanes, other) for other in ("nautilus", "hftbacktest"))) for key, lanes in by_lane.items()
    ]


def _times(lanes: dict[str, int], other: str) -> float | None:
    return round(lanes["fast"] / lanes[other], 2) if other in lanes else None


def show(found: Rates) -> None:
    """Print the tables."""
    print(f"book updates a second: {found.figure}\n{found.card}")
    print(
        f"{'recording':<28}{'quoter':<8}{'lane':<19}{'by cpu':>11}{'by wall':>11}{'cpu s':>9}{'wall s':>9}"
        f"{'updates':>10}{'actions':>10}{'fills':>8}  traded"
    )
    for r in found.rates:
        print(
            f"{r.recording:<28}{r.quoter:<8}{r.lane:<19}{r.updates_per_s:>11,}{r.updates_per_wall_s:>11,}{r.cpu_s:>9.3f}"
            f"{r.wall_s:>9.3f}{r.updates:>10,}{r.actions:>10,}{r.fills:>8,}  {r.traded}"
        )
    print(f"\n{'fast lane, times as fast as':<36}{'nautilus':>12}{'hftbacktest':>14}")
    for ratio in found.ratios:
        times = [f"{t:,.1f}" if t is not None else "–" for t in (ratio.fast_to_nautilus, ratio.fast_to_hftbacktest)]
        print(f"{ratio.recording:<28}{ratio.quoter:<8}{times[0]:>12}{times[1]:>14}")
    for lane, models in {r.lane: r.models for r in found.rates}.items():
        print(f"\n{lane}: {models}", end="")
    print()
    for sentence in found.skipped:
        print(sentence)


def main(*, as_json: bool = False) -> None:
    """Print the rates as a table, or as JSON."""
    found = measure(markets, core=pin())
    if as_json:
        json.dump(msgspec.to_builtins(found), sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        show(found)


if __name__ == "__main__":
    main(as_json="--json" in sys.argv[1:])
