"""`cmm drill`: real trader, real watchdog, real adapter, and an exchange that does everything wrong.

Each try starts an exchange with an account of its own and a trader as a process, waits until it
quotes, does one thing to it, and then asks: were the limits kept at every moment, does nothing rest in
the end, do position and money of our own record equal the exchange's to the last digit?
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.config import SHIPPED, Config, override
from engine.drill.attempt import SECRET, Try
from engine.drill.faults import FAULTS, Fault
from engine.live.records.journal import verify
from engine.live.records.store import Store
from engine.live.safety.account import cancel_everything, recover_fills
from engine.live.safety.state import is_alive
from engine.progress import SILENT, Progress
from market.errors import ConfigError
from models.ensemble import artifact

_END_S, _SAFE_S, _GONE_S, _RESTING_S, _ALARM_S, _WARM_UP_S = 45.0, 40.0, 30.0, 15.0, 5.0, 1.5


class Result(msgspec.Struct):
    """One try."""

    fault: str
    seed: int
    survived: bool
    safe_s: float
    exit: int | None
    reason: str
    why: list[str]
    alarm_s: float | None


class Summary(msgspec.Struct):
    """All tries of a fault."""

    fault: str
    tries: int
    survived: int
    worst_s: float


async def run_try(folder: Path, name: str, seed: int, quick: Path, quick_hash: str, base: Config) -> Result:
    """One fault, once."""
    shutil.rmtree(folder, ignore_errors=True)
    own = folder / "artifact"
    t = Try(folder, seed, own, quick_hash, base)
    shutil.copytree(quick, own)
    fault, expected = FAULTS[name]
    try:
        await t.open()
        await t.start()
        if not await t.quoting():
            return Result(name, seed, False, 0.0, None, "", [f"it never quoted: {t.tail()}"], None)
        await asyncio.sleep(0.5 + 1.5 * t.rng.random())
        began = time.monotonic()
        doing = asyncio.create_task(_do(fault, t))
        engine = t.exchange.engine
        safe_at: list[float] = []

        def is_safe() -> bool:
            safe = not engine.open and t.has_stopped()
            if expected in ("goes_on", "any"):
                safe = safe or (doing.done() and t.agrees())
            if safe and not safe_at:
                safe_at.append(time.monotonic())
            return safe and doing.done()

        await asyncio.sleep(0.01)
        if not await t.comes(is_safe, _SAFE_S):
            t.fail("not safe in time")
        safe_s = (safe_at[0] if safe_at else time.monotonic()) - began
        await doing
        await _finish(t, expected)
        await _settle(t)
        alarm_s = min((at - began for at, _ in t.alarms if at >= began), default=None)
        alone = name in ("kill_both", "halt_dead")  # nobody is left to cry out
        if (
            expected in ("stops", "latches", "dies", "stops_or_dies")
            and not alone
            and (alarm_s is None or alarm_s > safe_s + _ALARM_S * t.patience)
        ):
            t.fail(f"no alarm in time ({alarm_s})")
        code = t.trader.returncode if t.trader is not None else None
        return Result(name, seed, not t.broken, safe_s, code, _reason(t), t.broken, alarm_s)
    except Exception as error:  # a drill that fails is a try that did not survive
        return Result(name, seed, False, 0.0, None, "", [*t.broken, f"{type(error).__name__}: {error}"], None)
    finally:
        await t.close()


async def _do(fault: Fault, t: Try) -> None:
    await fault(t)


def _reason(t: Try) -> str:
    latch = t.state.latched()
    request = t.state.stop_request()
    return latch.reason if latch is not None else request.reason if request is not None else ""


async def _finish(t: Try, expected: str) -> None:
    """See that what had to follow did, and end the trader."""
    assert t.trader is not None
    if expected in ("goes_on", "any"):
        if expected == "any":
            await t.until(t.has_ended, 6.0)
        else:
            await asyncio.sleep(1.0)
        if not t.has_ended():
            t.trader.send_signal(signal.SIGTERM)
        elif expected == "goes_on":
            t.fail(f"the trader stopped: {t.tail()}")
    try:
        code = await asyncio.wait_for(t.trader.wait(), _END_S * t.patience)
    except TimeoutError:
        t.fail(f"the trader did not end: {t.tail()}")
        return
    allowed = {
        "goes_on": {0}, "any": {0, 3, 4}, "stops": {3, 4}, "latches": {3}, "ends": {0}, "dies": {-9},
        "stops_or_dies": {3, 4, -9},
    }[expected]  # fmt: skip
    if code not in allowed:
        t.fail(f"exit code {code}: {t.tail()}")
    if expected == "latches" and t.state.latched() is None:
        t.fail("no latch stands")
    beat = t.state.watchdog()
    if beat is not None:  # it has the last look, or the rescue, to finish
        await t.comes(lambda: not is_alive(beat.pid), _GONE_S)
    await t.comes(lambda: not t.exchange.engine.open, _RESTING_S)


async def _settle(t: Try) -> None:
    """Nothing rests; our record, brought up to date as a start does, equals the exchange's."""
    engine = t.exchange.engine
    t.exchange.faults = type(t.exchange.faults)()
    if engine.open:
        t.fail(f"{len(engine.open)} orders rest in the end")
    client, store = t.client(), Store(t.state.path / "store.sqlite", t.contract)
    try:
        wound = await cancel_everything(client, 10.0 * t.patience)
        if wound.resting != 0:
            t.fail(f"{wound.resting} orders rest by query")
        await recover_fills(client, store)
        totals = store.totals()
    finally:
        await client.close()
        store.close()
    if totals.position != engine.position:
        t.fail(f"position {totals.position} by our record, {engine.position} at the exchange")
    if totals.flow != engine.account.flow or totals.commissions != engine.account.fees:
        t.fail(f"money {totals.flow} by our record, {engine.account.flow} at the exchange")
    if totals.fills != len(engine.account.executions):
        t.fail(f"{totals.fills} fills by our record, {len(engine.account.executions)} at the exchange")
    for path in sorted((t.state.path / "journal").glob("*.jsonl")):
        if path.stat().st_size and "artifact" not in _reason(t):
            with suppress(Exception):  # a changed artifact cannot verify; a torn header neither
                differing = [d for d in verify(path).differences if not (t.is_lying and d.what.startswith("forecast"))]
                if differing:
                    t.fail(f"{path.name}: {len(differing)} decisions differ: {differing[0].what[:120]}")
    for path in t.folder.rglob("*"):
        if path.is_file() and SECRET.encode() in path.read_bytes():
            t.fail(f"{path}: holds the secret")


def quick_artifact(folder: Path) -> str:
    """A copy of the shipped artifact that is warm after a moment; return its hash."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SHIPPED, folder)
    manifest = artifact.read(folder)
    spec = msgspec.structs.replace(manifest.spec, warm_up_s=_WARM_UP_S)
    manifest = msgspec.structs.replace(manifest, spec=spec, spec_hash=spec.hash)
    (folder / artifact.MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return artifact.read(folder).hash


async def drill(
    folder: Path,
    names: list[str],
    tries: int,
    jobs: int,
    seed: int,
    base: Config,
    tell: Callable[[Result, float], None],
) -> list[Result]:
    """Run each fault `tries` times, `jobs` at once; the user's monitor hears nothing of these traders."""
    folder.mkdir(parents=True, exist_ok=True)
    sockets = folder / "sockets"
    sockets.mkdir(mode=0o700, exist_ok=True)
    base = override(base, {"monitor.path": str(sockets)})
    quick = folder / "artifact"
    quick_hash = quick_artifact(quick)
    todo = [(name, seed + 1000 * i + k) for i in range(tries) for k, name in enumerate(names)]
    queue = list(reversed(todo))
    results: list[Result] = []

    async def work() -> None:
        while queue:
            name, own = queue.pop()
            result = await run_try(folder / f"{name}-{own}", name, own, quick, quick_hash, base)
            results.append(result)
            tell(result, len(results) / len(todo))

    await asyncio.gather(*(work() for _ in range(jobs)))
    return results


class Campaign(msgspec.Struct, frozen=True):
    """All tries of a campaign, and their summaries by fault."""

    faults: list[Summary]
    tries: list[Result]

    @property
    def survived(self) -> bool:
        return all(result.survived for result in self.tries)


def run_campaign(
    config: Config,
    names: list[str] | None = None,
    keep: Path | None = None,
    progress: Progress = SILENT,
    *,
    tries: int = 3,
    jobs: int = 2,
    seed: int = 1,
) -> Campaign:
    """Run some faults, or all, and see what survived.

    Parameters
    ----------
    config : Config
    names : list[str], optional
        Of the faults.
    keep : Path, optional
        Folder for the logs, stores and journals of each try.
    progress : Progress
        Told at once what did not survive.
    tries, jobs, seed : int
        Of each fault; at once; of the first try.

    Raises
    ------
    ConfigError
        There is no such fault.

    """
    names = list(FAULTS) if names is None else names
    for name in names:
        if name not in FAULTS:
            raise ConfigError(f"--faults {name}: unknown; known are {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="cmm-drill-") as scratch, progress.share("drilling") as update:

        def tell(result: Result, share: float) -> None:
            update(result.fault, share)
            if not result.survived:
                progress.note(f"{result.fault} (seed {result.seed}): {'; '.join(result.why)}")

        results = asyncio.run(drill(keep or Path(scratch), names, tries, jobs, seed, config, tell))
    return Campaign(summarise(results), results)


def summarise(results: list[Result]) -> list[Summary]:
    """By fault, in order of appearance in `FAULTS`."""
    found = []
    for name in FAULTS:
        own = [r for r in results if r.fault == name]
        if own:
            survived = sum(r.survived for r in own)
            found.append(Summary(name, len(own), survived, max(r.safe_s for r in own)))
    return found
