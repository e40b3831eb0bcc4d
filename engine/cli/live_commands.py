"""What the commands around paper and live trading do."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import signal
import time
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from engine.backtest import select
from engine.calibration import calibrate as calibration
from engine.cli import console
from engine.cli.commands import finish, open_catalog, plan_backtest, show_summary
from engine.config import Config
from engine.live.deployment.deployment import read_lineup
from engine.live.errors import Exit, HaltedError
from engine.live.records import journal as journals
from engine.live.trading.checklist import Item
from engine.live.trading.live_run import Report, choose, run_live
from engine.runs import final_name, run_folder
from market.contracts import ContractTable
from market.errors import ConfigError
from market.nautilus import Decoder, Instrument
from venues.recordings.catalog import Day


def at(config: Config, venue: str | None, base_url: str | None) -> Config:
    """The configuration with venue and address from the command line."""
    tree = msgspec.to_builtins(config)
    if venue is not None:
        tree["live"]["venue"] = venue
    if base_url is not None:
        tree["live"]["base_url"] = base_url
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"--venue {venue}: live trading is tested at bybit only so far") from error


def paper_replay(config: Config, instrument: str, dates: str | None, speed: float, as_json: bool) -> None:
    """Replay recorded days through a live node and report as a backtest does."""
    from engine.live.trading.paper_run import replay_day

    config = _once(config)
    catalog = open_catalog(config)
    chosen = select.days(catalog, instrument, dates)
    if dates is None:
        chosen = chosen[-1:]
    plan, notes = plan_backtest(config, catalog, chosen)
    for note in notes:
        console.stderr.print(note, markup=False)
    with run_folder(config, "paper", {"replay": instrument, "dates": dates, "speed": speed}) as folder:
        episodes = []
        with console.bar(f"paper {plan.quoter}") as update:
            for index, day in enumerate(chosen):
                path = folder / f"journal-{day.date}.jsonl" if config.paper.journal else None
                progress = console.day_progress(update, index, len(chosen))
                episode = replay_day(catalog, day, plan, speed, path, progress)
                episode.check_identity()
                episodes.append(episode)
                if episode.counts.get("halted_operator"):  # a person's halt is no day's loss limit: it stands
                    later = len(chosen) - index - 1
                    notes.append(f"halted by the operator on {day.date}; {later} later days were not replayed")
                    break
        notes += _promotions(folder, chosen)
        summary = finish(folder, chosen[0].instrument, plan, episodes, notes, [])
    if as_json:
        click.echo(msgspec.json.encode(summary))
        return
    show_summary(summary)
    console.stdout.print(f"report {final_name(folder) / 'report.html'}", markup=False)


def paper_public(
    config: Config, venue: str, instrument: str | None, base_url: str | None, minutes: float | None, as_json: bool
) -> None:
    """Trade a venue's public data on paper."""
    from engine.live.trading.paper_run import trade_public

    if instrument is None:
        raise ConfigError("cmm paper --venue: name the instrument, e.g. --instrument BTCUSDT-LINEAR.BYBIT")
    if not hasattr(config.adapters, venue):
        known = ", ".join(config.adapters.__struct_fields__)
        raise ConfigError(f"--venue {venue}: no adapter; known are {known}")
    if base_url is not None:
        adapter = msgspec.structs.replace(getattr(config.adapters, venue), base_url=base_url)
        config = msgspec.structs.replace(config, adapters=msgspec.structs.replace(config.adapters, **{venue: adapter}))
    contract = ContractTable([Path(p) for p in config.data.contracts]).by_id(instrument)
    config = _once(config)
    plan = choose(config)
    catalog = open_catalog(config)
    today = dt.datetime.now(dt.UTC).date()
    queue, why = calibration.resolve(catalog, instrument, today, config.venue.queue)
    notes = [f"artifact {plan.artifact}", why]
    for note in notes:
        console.stderr.print(note, markup=False)
    duration = config.paper.minutes if minutes is None else minutes
    with run_folder(config, "paper", {"venue": venue, "instrument": instrument}) as folder:
        path = folder / "journal.jsonl" if config.paper.journal else None
        episode = trade_public(plan, contract, queue, venue, path, duration)
        notes += _promotions(folder, [])
        summary = finish(folder, contract.id, plan, [episode], notes, [])
    if as_json:
        click.echo(msgspec.json.encode(summary))
        return
    show_summary(summary)
    console.stdout.print(f"report {final_name(folder) / 'report.html'}", markup=False)


def _promotions(folder: Path, replayed: list[Day]) -> list[str]:
    """Notes on artifacts that took over while a run went on: its result is that of several."""
    lineup = read_lineup(folder)
    notes = []
    for change in lineup.history if lineup is not None else ():
        if change.action not in ("promote", "rollback"):
            continue
        when = dt.datetime.fromtimestamp(change.ts_ns / 1e9, dt.UTC)
        notes.append(
            f"{change.member.hash} took over at {when:%H:%M:%S} UTC by the machine's clock "
            f"({change.action}: {change.because or 'no reason given'})"
        )
        seen = select.leaks(Path(change.member.path), replayed) if replayed else []
        if seen:
            notes.append(
                f"WARNING: {change.member.hash} was trained up to or after {', '.join(seen)}: in-sample, no evidence"
            )
    return notes


def _once(config: Config) -> Config:
    """Paper trades once: other fees are reckoned on the same fills."""
    return msgspec.structs.replace(config, backtest=msgspec.structs.replace(config.backtest, sensitivity="none"))


def show_checklist(items: list[Item]) -> None:
    """Print the go-live checklist."""
    rows = [["ok" if item.holds else "NO", item.name, item.text] for item in items]
    console.stderr.print(console.table("go-live checklist", ["", "", ""], rows))


def live(config: Config, instrument: str, as_json: bool) -> int:
    """Trade live; return the exit code."""
    try:
        report = run_live(config, instrument, show_checklist)
    except HaltedError as error:
        click.echo(f"error: {error}", err=True)
        return int(Exit.HALTED)
    with suppress(OSError):  # the exit code must not depend on where we print to
        if as_json:
            click.echo(msgspec.json.encode(report))
        else:
            show_report(report)
    return report.exit


def show_report(report: Report) -> None:
    """Print how a live run ended."""
    resting = "UNKNOWN, look at the venue" if report.resting is None else report.resting
    rows: list[list[Any]] = [
        ["reason", report.reason], ["orders resting", resting], ["position, lots", report.position],
        ["position at the venue", report.venue_position], ["fills in the store", report.fills],
        ["of them found at the end", report.recovered], ["money in and out", report.flow],
        ["commissions", report.commissions], ["verified after, s", report.cancel_s], ["journal", report.journal],
    ]  # fmt: skip
    console.stdout.print(console.table(f"live run, exit code {report.exit}", ["", ""], rows))


def halt(config: Config, instrument: str | None, reason: str, clear: bool, close_position: bool) -> int:
    """Halt or clear; return the exit code."""
    from engine.live.safety import halt as halting

    if clear:
        click.echo(halting.clear(config, reason))
        return int(Exit.OK)
    if instrument is None:
        raise ConfigError("cmm halt: name the instrument whose orders are to be cancelled, --instrument …")
    done = halting.halt(config, instrument, reason or "no reason given", close_position)
    ran = "the trader was running" if done.was_running else "no trader was running"
    rests = "UNKNOWN whether orders still rest" if done.resting is None else f"{done.resting} orders rest"
    click.echo(f"halted: {ran}; {rests}; position {done.position} lots; cancelled in {done.cancel_s:.1f} s")
    return done.exit


def watchdog(config: Config, instrument: str) -> None:
    """Watch until interrupted; what is being watched then is the venue's dead man's switch to look after."""
    from engine.live.safety.watchdog import stand_by

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    click.echo(f"watching {Path(config.live.state).resolve()}")
    with suppress(KeyboardInterrupt):
        asyncio.run(stand_by(config, instrument))


def exchange(
    config: Config, port: int, seed: int, replay: str | None, dates: str | None, speed: float, cash: float
) -> None:
    """Serve the loopback exchange until interrupted."""
    from venues.loopback import market
    from venues.loopback.bybit import LoopbackBybit

    events = market.simulated(seed)
    if replay is not None:
        catalog = open_catalog(config)
        day = select.days(catalog, replay, dates)[-1]
        events = market.recorded(catalog, day, Decoder(Instrument(catalog.contract(day), day.depth)))
    contract = ContractTable([Path(p) for p in config.data.contracts]).by_id(market.SYMBOL)
    key, secret = f"loopback-{secrets.token_hex(4)}", secrets.token_hex(16)
    server = LoopbackBybit(market.terms_of(contract), key, secret, Decimal(str(cash)))

    async def serve() -> None:
        await server.start(port)
        click.echo(f"export CMM_BYBIT_KEY={key} CMM_BYBIT_SECRET={secret}")
        click.echo(f"{market.SYMBOL} at {server.url}")
        try:
            await market.feed(server, events, speed)
            click.echo("the recording has ended")
        finally:
            await server.stop()

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        click.echo("closed")


def replay_journal(path: Path, verify: bool, artifact_folder: Path | None, as_json: bool) -> int:
    """Show or verify a journal; 1 where a decision does not follow."""
    if not verify:
        header, lines = journals.read(path)
        seen: Counter[str] = Counter()
        first = last = 0
        for line in lines:
            if line is None:
                seen["torn"] += 1
                continue
            first, last = first or line.ts_ns, line.ts_ns
            seen["decisions"] += 1
            seen["actions"] += len(line.actions)
            seen.update({f"bound by {name}": count for name, count in line.refusals.items()})
            seen[f"fault {line.fault}"] += bool(line.fault)
        rows = [[name, count] for name, count in sorted(seen.items()) if count]
        title = f"{path}: {header.instrument}, {header.quoter}, {(last - first) / 1e9:,.0f} s"
        if as_json:
            click.echo(msgspec.json.encode({"instrument": header.instrument, "counts": dict(seen)}))
        else:
            console.stdout.print(console.table(title, ["", ""], rows))
        return 0
    started = time.perf_counter()
    verdict = journals.verify(path, artifact_folder)
    if as_json:
        click.echo(msgspec.json.encode(verdict))
    else:
        torn = "; the last line is torn: the process died while it was written" if verdict.torn else ""
        took = time.perf_counter() - started
        click.echo(f"{path}: {verdict.decisions:,} decisions, {len(verdict.differences)} differ{torn} ({took:.1f} s)")
        for difference in verdict.differences[:10]:
            click.echo(f"line {difference.line}: {difference.what}")
    return 1 if verdict.differences else 0


def drill(
    config: Config, faults: str | None, tries: int, jobs: int, seed: int, keep: Path | None, as_json: bool
) -> int:
    """Run the fault campaign; 1 where a try did not survive."""
    import tempfile

    from engine.drill import campaign as drilling
    from engine.drill.faults import FAULTS

    names = list(FAULTS) if faults is None else [name.strip() for name in faults.split(",")]
    for name in names:
        if name not in FAULTS:
            raise ConfigError(f"--faults {name}: unknown; known are {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="cmm-drill-") as scratch, console.bar("drilling") as update:
        folder = Path(scratch) if keep is None else keep

        def tell(result: drilling.Result, share: float) -> None:
            update(result.fault, share)
            if not result.survived:
                console.stderr.print(
                    f"{result.fault} (seed {result.seed}): {'; '.join(result.why)}", markup=False, highlight=False
                )

        results = asyncio.run(drilling.drill(folder, names, tries, jobs, seed, config, tell))
    summaries = drilling.summarise(results)
    if as_json:
        click.echo(msgspec.json.encode({"faults": summaries, "tries": results}))
    else:
        rows = [[s.fault, s.tries, s.survived, s.worst_s] for s in summaries]
        console.stdout.print(console.table("drill", ["fault", "tries", "survived", "worst time to safe, s"], rows))
    return 0 if all(r.survived for r in results) else 1
