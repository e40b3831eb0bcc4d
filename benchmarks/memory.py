"""Peak memory of an import and of a backtest, each in a process of its own, by the length of the day: what grows and
what does not.

`python -m benchmarks memory [--json]`. A peak is resident memory above that of the interpreter with all imports made.
"""

from __future__ import annotations

import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.card import Card, card, load, timed
from engine.config import Config, QuoterName, override
from engine.reports.results import run_backtest
from market.contracts import ContractTable
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_events
from venues.recordings.simulator import SYMBOL, MarketConfig, simulate

_UPDATES = (500_000, 1_000_000, 2_000_000, 5_000_000)
_COMPILES = 10_000
_ALONE = "--alone"
_QUOTERS: tuple[QuoterName, ...] = ("foic", "cmm")
_FASTER = 10.0  # than the simulator's usual market: so many updates fit into a day
_UPDATES_PER_S = 246.0  # of that market
_START_NS = int(dt.datetime(2020, 1, 6, 1, tzinfo=dt.UTC).timestamp()) * 10**9
_KB = 1024.0 if sys.platform != "darwin" else 1024.0**2


class Peak(msgspec.Struct, frozen=True):
    """What one process took at most.

    Parameters
    ----------
    what : str
        `import`, or `backtest` and its quoter: engine fast, without the table of assumptions, report included.
    book_updates : int
        Of the simulated day.
    peak_mb : float
        Above the interpreter with imports.
    interpreter_mb : float
    cpu_s, wall_s : float

    """

    what: str
    book_updates: int
    peak_mb: float
    interpreter_mb: float
    cpu_s: float
    wall_s: float


class Peaks(msgspec.Struct, frozen=True):
    """What was measured, and on what."""

    card: Card
    peaks: list[Peak]


def measure(updates: Sequence[int] = _UPDATES, tell: Callable[[Peak], None] = lambda _: None) -> Peaks:
    """Simulate days of about so many book updates; import and trade each in processes of their own."""
    before, peaks = load(), []
    for _ in _of_one(_COMPILES):  # a process that compiles takes some hundred MB more; a user's does not
        pass
    for count in updates:
        for peak in _of_one(count):
            peaks.append(peak)
            tell(peak)
    return Peaks(card(None, before), peaks)


def _of_one(count: int) -> Iterator[Peak]:
    """The peaks of one day, a process each."""
    with tempfile.TemporaryDirectory(prefix="cmm-bench-") as scratch:
        for what, argument in (("import", str(count)), *(("backtest", quoter) for quoter in _QUOTERS)):
            command = [sys.executable, "-m", "benchmarks.memory", _ALONE, what, scratch, argument]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            yield msgspec.json.decode(told.stdout, type=Peak)


def _import(scratch: str, count: int) -> Peak:
    usual = MarketConfig()
    market = msgspec.structs.replace(
        usual,
        limit=tuple(_FASTER * rate for rate in usual.limit),
        cancel=_FASTER * usual.cancel,
        market=_FASTER * usual.market,
        calm_s=usual.calm_s / _FASTER,
        volatile_s=usual.volatile_s / _FASTER,
        pressure_s=usual.pressure_s / _FASTER,
    )
    events = simulate(1, count / _UPDATES_PER_S, _START_NS, market)
    catalog = Catalog(Path(scratch) / "data", ContractTable())

    def run() -> int:
        done = import_events(catalog, events, "benchmark", "simulator", [], Counter(), lambda *_: None)
        return sum(day.book_updates for day in done.days)

    return _peak("import", run)


def _trade(scratch: str, quoter: QuoterName) -> Peak:
    root = Path(scratch)
    config = override(
        Config(),
        {
            "data.path": str(root / "data"), "runs.path": str(root / "runs"), "strategy.quoter": quoter,
            "backtest.sensitivity": "none",
        },
    )  # fmt: skip
    return _peak(f"backtest {quoter}", lambda: run_backtest(config, SYMBOL, anyway=True).summary.total.book_updates)


def _peak(what: str, run: Callable[[], int]) -> Peak:
    before = _highest_mb()
    updates, time = timed(run)
    return Peak(what, updates, round(_highest_mb() - before, 1), round(before, 1), *(round(s, 2) for s in time))


def _highest_mb() -> float:
    """The most that this process has had in memory: where the system tells it, without what its parent had."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KB


def main(*, as_json: bool = False) -> None:
    """Print the peaks as a table, or as JSON."""
    if as_json:
        json.dump(msgspec.to_builtins(measure()), sys.stdout, indent=1, ensure_ascii=False)
        print()
        return
    print(f"{'':<16}{'book updates':>14}{'peak MB':>10}{'imports MB':>12}{'cpu s':>9}{'wall s':>9}")
    found = measure(
        tell=lambda p: print(
            f"{p.what:<16}{p.book_updates:>14,}{p.peak_mb:>10,.0f}{p.interpreter_mb:>12,.0f}{p.cpu_s:>9.1f}"
            f"{p.wall_s:>9.1f}",
            flush=True,
        )
    )
    print(f"peak: resident memory above that of the interpreter with imports\n{found.card}")


if __name__ == "__main__":
    if sys.argv[1:2] == [_ALONE]:
        asked, folder, value = sys.argv[2:]
        alone = _import(folder, int(value)) if asked == "import" else _trade(folder, value)  # type: ignore[arg-type]
        print(msgspec.json.encode(alone).decode())
    else:
        main(as_json="--json" in sys.argv[1:])
