"""The journal: one line a decision with all that it was made of, and the proof that it follows from that.

A file of JSON lines, only ever appended to. The first line is the header: configuration, artifact,
instrument. Each other line is a decision: features, market, forecast, what stood at the venue, and
what was decided. `verify` runs the very code of the maker on the inputs and compares, to the bit.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.assembly import make_decider
from engine.config import QUOTERS, Config, QuoterName
from engine.config.kept import rename_former
from engine.live.records.line_file import LineFile
from engine.plan import Plan
from engine.recordings.catalog import contract_table
from market.contracts import Contract
from market.errors import ConfigError
from models.ensemble import artifact
from models.ensemble.predictor import Forecast, Predictor
from strategies.decision import Decider, Decision, Inputs
from strategies.limits import RiskState
from strategies.observer import Observer
from strategies.own_quoter import absolute
from strategies.values import Action, Kind, Market

_SCHEMA = 2  # it rises where the same inputs give other bits: 2 has the compiled forecasts


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a journal."""

    schema: int = _SCHEMA
    config: Config
    quoter: QuoterName
    """One of the user's own by its file's absolute path."""
    quoter_sha256: str | None = None
    """Of that file."""
    instrument: str
    artifact: str | None
    artifact_hash: str | None
    break_even_ticks: float
    intensity: tuple[float, float] | None
    started_ns: int


def header_of(plan: Plan, contract: Contract, predictor: Predictor | None, break_even: float, start_ns: int) -> Header:
    """The header of a run."""
    return Header(
        config=plan.config,
        quoter=absolute(plan.quoter) if plan.quoter not in QUOTERS else plan.quoter,
        quoter_sha256=plan.quoter_sha256,
        instrument=contract.id,
        artifact=str(plan.artifact.resolve()) if plan.artifact is not None else None,
        artifact_hash=predictor.manifest.hash if predictor is not None else None,
        break_even_ticks=break_even,
        intensity=plan.intensity,
        started_ns=start_ns,
    )


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One decision."""

    ts_ns: int
    features_hash: str
    features: str
    """Base64 of the float32 vector."""
    market: tuple[int, int, float, float, float, int]
    forecast: tuple[float, float, float, float] | None
    fault: str
    paused: tuple[bool, bool]
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    risk: tuple[int, int, int, int, list[tuple[int, int, bool]], int, float | None, float | None, float | None, str]
    """As `RiskState`; null stands for a number that JSON does not know: unknown, or without limit."""
    ladder: tuple[list[tuple[int, int]], list[tuple[int, int]]]
    actions: list[tuple[int, int, int, int, int]]
    refusals: dict[str, int]


class Journal(LineFile):
    """Appends decisions to a file."""

    def __init__(self, path: Path, header: Header) -> None:
        super().__init__(path, header)
        self.lines = 0

    def append(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        """Write one decision."""
        self.write(_line(ts_ns, features, inputs, decision))
        self.lines += 1


def _line(ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> Line:
    raw = features.tobytes()
    s = inputs.risk
    ladder = decision.ladder
    return Line(
        ts_ns,
        hashlib.blake2b(raw, digest_size=8).hexdigest(),
        base64.b64encode(raw).decode(),
        inputs.market,
        inputs.forecast,
        inputs.fault,
        inputs.paused,
        inputs.bids,
        inputs.asks,
        (
            s.position, s.buys, s.sells, s.open_orders, list(s.orders), s.last,
            _finite(s.others_gross), _finite(s.others_net), _finite(s.messages), s.unknown,
        ),
        (ladder.bids.tolist(), ladder.asks.tolist()),
        [tuple(map(int, action)) for action in decision.actions],  # type: ignore[misc]
        decision.refusals,
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return value if value - value == 0.0 else None


class JournalKeeper(Observer):
    """Writes each decision into the journal at hand, if there is one."""

    def __init__(self) -> None:
        self.journal: Journal | None = None

    def change(self, journal: Journal | None) -> None:
        """Close the journal at hand and go on with another."""
        self.close()
        self.journal = journal

    def on_decided(self, ts_ns: int, features: NDArray[np.float32], inputs: Inputs, decision: Decision) -> None:
        if self.journal is not None:
            self.journal.append(ts_ns, features, inputs, decision)

    def close(self) -> None:
        """Nothing more is written."""
        if self.journal is not None:
            self.journal.close()
            self.journal = None


class Difference(msgspec.Struct, frozen=True):
    """A decision that does not follow from its inputs."""

    line: int
    ts_ns: int
    what: str


class Verdict(msgspec.Struct, frozen=True):
    """What verifying a journal found."""

    path: str
    decisions: int
    torn: bool
    """The last line is incomplete: the process died while it was written."""
    differences: list[Difference]


def read(path: Path) -> tuple[Header, Iterator[Line | None]]:
    """Header and decisions of a journal; a last None stands for a torn line.

    Raises
    ------
    ConfigError
        It is no journal, or damaged before its end.

    """
    try:
        with path.open("rb") as handle:
            first = handle.readline()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        header = read_header(first)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: no journal, its first line is no header ({error})") from error
    if header.schema != _SCHEMA:
        raise ConfigError(f"{path}: journal of schema {header.schema}, this version reads {_SCHEMA}")
    return header, _lines(path, len(first))


def read_header(line: bytes) -> Header:
    """Decode a journal's first line; its configuration may have former names.

    Raises
    ------
    msgspec.DecodeError
        It is no header.

    """
    tree = msgspec.json.decode(line, type=dict[str, Any])
    if isinstance(tree.get("config"), dict):
        rename_former(tree["config"])
    return msgspec.convert(tree, Header)


def _lines(path: Path, start: int) -> Iterator[Line | None]:
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as rows:
        rows.seek(start)
        for number, row in enumerate(rows, start=2):
            if not row.endswith(b"\n"):
                yield None
                return
            try:
                yield decoder.decode(row)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{path}, line {number}: damaged ({error})") from error


def verify(path: Path, artifact_folder: Path | None = None, quoter: str | None = None) -> Verdict:
    """Run each decision of a journal again.

    Parameters
    ----------
    path : Path
    artifact_folder : Path, optional
        Where the artifact lies now, if it has moved.
    quoter : str, optional
        `FILE.py:NAME` of the user's own quoter, if it has moved.

    """
    header, lines = read(path)
    config = header.config
    if quoter is not None and (header.quoter_sha256 is None or quoter in QUOTERS):
        raise ConfigError(
            f"--quoter {quoter}: this journal was made with {header.quoter}; name a quoter's file where it has moved"
        )
    predictor = None
    if header.artifact is not None:
        folder = artifact_folder or Path(header.artifact)
        if artifact.read(folder).hash != header.artifact_hash:
            raise ConfigError(f"{folder}: not the artifact of this journal, which has the hash {header.artifact_hash}")
        predictor = Predictor(folder)
    contract = contract_table(config).by_id(header.instrument)
    run = Plan(config, quoter or header.quoter, None, header.intensity, quoter_sha256=header.quoter_sha256)
    decider = make_decider(run, header.break_even_ticks, contract.mark_value)
    count, torn, differences = 0, False, []
    for number, line in enumerate(lines, start=2):
        if line is None:
            torn = True
            break
        count += 1
        what = _again(line, predictor, decider)
        if what:
            differences.append(Difference(number, line.ts_ns, what))
    return Verdict(str(path), count, torn, differences)


def _again(line: Line, predictor: Predictor | None, decider: Decider) -> str:
    """Decide again; return what differs, or ''."""
    raw = base64.b64decode(line.features)
    if hashlib.blake2b(raw, digest_size=8).hexdigest() != line.features_hash:
        return "features: not those of the hash"
    features = np.frombuffer(raw, np.float32)
    forecast = Forecast(*line.forecast) if line.forecast is not None else None
    if predictor is not None:
        predictor.features[0] = features
        again = predictor.predict()
        if again != forecast:
            return f"forecast: {forecast} then, {again} now"
    s = line.risk
    unlimited = float("inf") if s[8] is None else s[8]
    gross, net = (float("nan") if value is None else value for value in (s[6], s[7]))
    risk = RiskState(s[0], s[1], s[2], s[3], tuple(s[4]), s[5], gross, net, unlimited, s[9])
    decision = decider.decide(
        Inputs(Market(*line.market), forecast, line.fault, line.paused, line.bids, line.asks, risk)
    )
    ladder = tuple([tuple(level) for level in side.tolist()] for side in decision.ladder)
    if ladder != line.ladder:
        return f"ladder: {line.ladder} then, {ladder} now"
    actions = [Action(Kind(kind), *rest) for kind, *rest in line.actions]
    if actions != decision.actions:
        return f"actions: {actions} then, {decision.actions} now"
    if dict(decision.refusals) != line.refusals:
        return f"limits that bound: {line.refusals} then, {decision.refusals} now"
    return ""
