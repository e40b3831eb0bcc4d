"""What a paper or live run left: fills, order log, settings; from a run folder, a state folder or a journal."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.backtest.run_record import Fill
from engine.live.records import order_log
from engine.live.records.journal import Header, read_header
from engine.live.records.order_log import ENDED, Answered, Bound, Entry, Filled, Quoting, Sent
from engine.live.records.store import read_fills
from market.errors import ConfigError
from market.events import BID
from venues.simulation.queues import QueueConfig

type Mode = Literal["replay", "public", "live"]
"""A replayed recording; public data at the paper exchange; or a real exchange."""

_S = 10**9


class Log(msgspec.Struct, frozen=True):
    """An order log, sorted by what its entries say, each in order of time."""

    sent: list[Sent]
    answered: list[Answered]
    filled: list[Filled]
    quoting: list[Quoting]
    bound: list[Bound]
    end_ns: int
    has_ended: bool


class Span(msgspec.Struct, frozen=True):
    """One stretch of trading: a replayed day, or all that a run on live data did.

    Parameters
    ----------
    header : Header
    date : dt.date or None
        Of a replayed day.
    start_ns, end_ns : int
        0 for a replayed day: it is as long as its recording.
    fills : list[Fill]
        By the time at which the trader heard of them.
    log : Log
    notes : list[str]

    """

    header: Header
    date: dt.date | None
    start_ns: int
    end_ns: int
    fills: list[Fill]
    log: Log
    notes: list[str]


class Record(msgspec.Struct, frozen=True):
    """A run: where it lies, how it traded, and its spans; `queue` is that of a paper exchange."""

    folder: Path
    mode: Mode
    spans: list[Span]
    queue: QueueConfig | None = None

    @property
    def header(self) -> Header:
        return self.spans[0].header


def open_record(path: Path, runs: Path) -> Record:
    """Read what a run left.

    Parameters
    ----------
    path : Path
        A run folder, a live state folder (its last run), a journal or an order log.
    runs : Path
        Where a run folder is looked for that is not found by itself.

    Raises
    ------
    ConfigError
        There is nothing of the kind, or it is damaged.

    """
    if not path.exists() and (runs / path).exists():
        path = runs / path
    if not path.exists():
        raise ConfigError(f"{path}: there is no such run, state folder or journal; see {runs}")
    if path.is_file():
        return _open_file(path)
    if (path / "run.json").exists():
        return _open_run(path, None)
    if (path / "store.sqlite").exists():
        return _open_state(path, None)
    raise ConfigError(f"{path}: neither a run folder (run.json) nor the state folder of a live trader (store.sqlite)")


def _open_file(path: Path) -> Record:
    if path.suffix != ".jsonl":
        raise ConfigError(f"{path}: no journal; name a run folder, a live state folder or a journal (.jsonl)")
    folder = path.absolute().parent
    if (folder / "run.json").exists():
        return _open_run(folder, (path if path.name.startswith("orders") else order_log.beside(path)).name)
    if folder.name in ("journal", "orders") and (folder.parent / "store.sqlite").exists():
        return _open_state(folder.parent, path.name)
    raise ConfigError(
        f"{path}: its fills are kept beside it, in a run folder (run.json) or a state folder (store.sqlite), and "
        "there is none around it; name the journal where the trader wrote it"
    )


# ── paper ─────────────────────────────────────────────────────────────────────────────────────


def _open_run(folder: Path, only: str | None) -> Record:
    run = _json(folder / "run.json")
    arguments = run.get("arguments")
    if run.get("command") != "paper" or not isinstance(arguments, dict):
        raise ConfigError(
            f"{folder}: a run of `cmm {run.get('command')}`, and nothing that traded beside a backtest; "
            "name a run of `cmm paper`, or the state folder of `cmm live`"
        )
    mode: Mode = "replay" if "replay" in arguments else "public"
    found = sorted(folder.glob("orders*.jsonl"))
    if only is not None:  # the journals of later artifacts have a number behind the name of the first
        found = [path for path in found if Path(only).stem.startswith(path.stem)]
    has_ended = (folder / "summary.json").exists() and (folder / "fills.csv").exists()
    queue = _json(folder / "summary.json").get("queue") if has_ended else None
    if not found:
        raise ConfigError(
            f"{folder}: this run kept no order log (paper.journal was off, or it is of an earlier version); "
            "trade again with paper.journal: true"
        )
    fills = _fills_by_date(folder / "fills.csv") if has_ended else None
    spans = [_paper_span(path, mode, fills) for path in found]
    return Record(folder, mode, spans, msgspec.convert(queue, QueueConfig) if queue is not None else None)


def _paper_span(path: Path, mode: Mode, fills: dict[str, int] | None) -> Span:
    header, log = _read_log(path)
    date = dt.date.fromisoformat(path.stem.removeprefix("orders-")) if mode == "replay" else None
    notes = [] if log.has_ended else [f"{path.name}: its end is missing; compared as far as it goes"]
    if fills is None:
        notes.append("the run kept no results: it was stopped before its end")
        fills = {str(date): len(log.filled)}
    expected = fills.get(str(date), 0) if date is not None else sum(fills.values())
    if expected != len(log.filled):
        notes.append(
            f"{path.name} has {len(log.filled)} fills, fills.csv {expected}: those of the order log are compared"
        )
    start, end = (0, 0) if date is not None else (header.started_ns, log.end_ns)
    return Span(header, date, start, end, [_fill(f) for f in log.filled], log, notes)


def _fills_by_date(path: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    try:
        with path.open(newline="") as handle:
            for row in csv.DictReader(handle):
                counts[row["date"]] = counts.get(row["date"], 0) + 1
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the fills of the run cannot be read ({error})") from error
    return counts


# ── live ──────────────────────────────────────────────────────────────────────────────────────


def _open_state(folder: Path, name: str | None) -> Record:
    """The run that wrote the file `name`, or the last one."""
    logs = sorted((folder / "orders").glob("*.jsonl"))
    if name is not None:
        pid = name.rpartition("-")[2]
        logs = [path for path in logs if path.name <= name and path.name.rpartition("-")[2] == pid]
    if not logs:
        raise ConfigError(
            f"{folder}: no order log of {name or 'a run'} in {folder / 'orders'} (live.journal was off, or it is of an "
            "earlier version), and without one nothing tells latency from queue; trade again with live.journal: true"
        )
    header, log = _read_log(logs[-1])
    stored, start_position = read_fills(folder / "store.sqlite")
    heard = {fill.trade_id for fill in log.filled}
    notes = [] if log.has_ended else ["the trader did not come to its end: compared up to its last entry"]
    position = start_position + sum(
        (f.lots if f.side == BID else -f.lots)
        for f in stored
        if f.ts_ns < header.started_ns and f.trade_id not in heard
    )
    if position:
        notes.append(f"the run began with {position} lots, the backtests begin flat: what that changed is unexplained")
    late = [
        f for f in stored if f.trade_id not in heard and header.started_ns <= f.ts_ns <= log.end_ns + 60 * _S
        and not _is_later_run(logs, f.ts_ns, folder)
    ]  # fmt: skip
    if late:
        notes.append(f"{len(late)} fills that the trader never heard of were recovered from the exchange's list")
    fills = [_fill(f) for f in log.filled] + [
        Fill(min(f.ts_ns, log.end_ns), f.side, f.price, f.lots, f.is_maker, False, float(f.commission)) for f in late
    ]
    return Record(folder, "live", [Span(header, None, header.started_ns, log.end_ns, sorted(fills), log, notes)])


def _is_later_run(logs: list[Path], ts_ns: int, folder: Path) -> bool:
    """Whether a later run of the same state folder had begun by then."""
    later = [path for path in sorted((folder / "orders").glob("*.jsonl")) if path.name > logs[-1].name]
    return bool(later) and ts_ns >= _read_header(later[0]).started_ns


# ── files ─────────────────────────────────────────────────────────────────────────────────────


def _read_header(path: Path) -> Header:
    try:
        with path.open("rb") as handle:
            return read_header(handle.readline())
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: no order log, its first line is no header ({error})") from error


def _read_log(path: Path) -> tuple[Header, Log]:
    header, entries = order_log.read(path)
    kinds: dict[type, list[Any]] = {kind: [] for kind in (Sent, Answered, Filled, Quoting, Bound)}
    end = header.started_ns
    for entry in entries:
        kinds[type(entry)].append(entry)
        end = max(end, _time(entry))
    quoting = kinds[Quoting]
    ended = bool(quoting) and quoting[-1].reason == ENDED
    log = Log(kinds[Sent], kinds[Answered], kinds[Filled], quoting, kinds[Bound], end, ended)
    return header, log


def _time(entry: Entry) -> int:
    return entry.ts_ns if isinstance(entry, Quoting | Bound) else entry.now_ns


def _fill(fill: Filled) -> Fill:
    commission = float(fill.commission)
    return Fill(fill.now_ns, fill.side, fill.price, fill.lots, fill.is_maker, False, commission)


def _json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: damaged ({error})") from error
