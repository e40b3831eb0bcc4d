"""The order log: what was asked of the exchange and when, what it answered, what filled, and when quotes were away.

A file of JSON lines beside the journal, whose header it shares. The journal says why a decision was made;
this says how long it took to arrive and what came of it: what live trading has and a backtest assumes.
Times are ns by the clock of whoever trades, `ts_event` is the exchange's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
from nautilus_trader.model import ClientOrderId
from numpy.typing import NDArray

from engine.live.records.journal import Header, read_header
from engine.live.records.line_file import LineFile
from market.errors import ConfigError
from strategies.decision import Decision, Inputs
from strategies.observer import Answer, Observer, OwnFill
from strategies.values import Action


class Sent(msgspec.Struct, frozen=True, array_like=True, tag="sent"):
    """A command: the update that it answers, when it left, and what it asks (price in ticks, lots that are to rest)."""

    ts_ns: int
    now_ns: int
    key: str
    kind: int
    side: int
    price: int
    lots: int


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="answered"):
    """What the exchange said of an order, when we heard it and when, by its own clock, it happened."""

    now_ns: int
    key: str
    what: Answer
    ts_event: int


class Filled(msgspec.Struct, frozen=True, array_like=True, tag="filled"):
    """A fill of ours, when we heard of it; the commission is decimal text."""

    now_ns: int
    ts_event: int
    key: str
    side: int
    price: int
    lots: int
    is_maker: bool
    commission: str
    trade_id: str


class Quoting(msgspec.Struct, frozen=True, array_like=True, tag="quoting"):
    """Quotes are away from now on, for a reason; or may stand again ('')."""

    ts_ns: int
    reason: str


class Bound(msgspec.Struct, frozen=True, array_like=True, tag="bound"):
    """From this decision on these limits refuse or cut orders, so many at a time; none where there are none."""

    ts_ns: int
    limits: dict[str, int]


ENDED = "ended"
"""Reason of the last entry of a run that came to its end."""

type Entry = Sent | Answered | Filled | Quoting | Bound


class OrderLog(Observer):
    """Keeps the log of a run.

    Parameters
    ----------
    path : Path
        A new file.
    header : Header
        Of the run's first journal.
    now : callable
        The clock of whoever trades, ns.

    """

    def __init__(self, path: Path, header: Header, now: Callable[[], int]) -> None:
        self._file, self._now = LineFile(path, header), now
        self._fault, self._bound = "", dict[str, int]()

    def on_command(self, ts_ns: int, now_ns: int, key: ClientOrderId, action: Action) -> None:
        self._file.write(Sent(ts_ns, now_ns, str(key), int(action.kind), action.side, action.price, action.size))

    def on_answer(self, key: ClientOrderId, what: Answer, ts_event: int) -> None:
        self._file.write(Answered(self._now(), str(key), what, ts_event))

    def on_fill(self, fill: OwnFill) -> None:
        self._file.write(
            Filled(
                self._now(), fill.ts_ns, fill.order_id, fill.side, fill.price, fill.lots, fill.is_maker,
                format(fill.commission, "f"), fill.trade_id,
            )
        )  # fmt: skip

    def on_quoting(self, ts_ns: int, reason: str) -> None:
        self._file.write(Quoting(ts_ns, reason))

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        if inputs.fault != self._fault:
            self._fault = inputs.fault
            self._file.write(Quoting(ts_ns, f"model_{inputs.fault}" if inputs.fault else ""))
        if decision.refusals != self._bound:
            self._bound = dict(decision.refusals)
            self._file.write(Bound(ts_ns, self._bound))

    def close(self) -> None:
        """The run has ended: the last entry says when."""
        with suppress(OSError):  # a full disk does not keep a trader from ending
            self._file.write(Quoting(self._now(), ENDED))
        self._file.close()


def beside(journal: Path) -> Path:
    """The order log of a paper run's journal: `orders-2021-01-11.jsonl` of `journal-2021-01-11.jsonl`."""
    name = journal.name
    return journal.with_name(name.replace("journal", "orders", 1) if "journal" in name else f"orders-{name}")


def read(path: Path) -> tuple[Header, Iterator[Entry]]:
    """Header and entries of an order log; a last line that is torn is left out.

    Raises
    ------
    ConfigError
        It is no order log, or damaged before its end.

    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        header = read_header(handle.readline())
    except msgspec.DecodeError as error:
        handle.close()
        raise ConfigError(f"{path}: no order log, its first line is no header ({error})") from error

    def entries() -> Iterator[Entry]:
        decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Sent | Answered | Filled | Quoting | Bound)
        with handle:
            for number, row in enumerate(handle, start=2):
                if not row.endswith(b"\n"):
                    return
                try:
                    yield decoder.decode(row)
                except msgspec.DecodeError as error:
                    raise ConfigError(f"{path}, line {number}: damaged ({error})") from error

    return header, entries()
