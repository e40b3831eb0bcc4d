"""Why live differs from backtest: a paper or live run against backtests of the days it traded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.backtest.run_record import last_mid
from engine.compare import comparison
from engine.compare.comparison import Comparison, DayShown, Pnl
from engine.compare.counterfactuals import Chain
from engine.compare.matching import match
from engine.compare.page import write_page
from engine.compare.recording import find_market
from engine.compare.records import Record, Span, open_record
from engine.compare.split import CAUSES, Cause, FillValuation, by_fill, steps_of
from engine.config import SHIPPED, Config, apply, override
from engine.live.records.journal import Header
from engine.progress import SILENT, Progress
from engine.runs import final_name, run_folder
from market.errors import ConfigError
from market.files import write_json
from models.ensemble import artifact

_ASSUMED = ("venue", "fees", "limits", "guard")
_PLACES = ("data", "runs")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be compared, and how.

    Parameters
    ----------
    path : Path
        Run folder, live state folder, or journal.
    overrides : sequence of str
        `key=value`: what the backtest assumes otherwise than the run, of `venue`, `fees`, `limits` and `guard`.
    file : Config or None
        These sections of another configuration instead of the run's.
    artifact : Path or None
        Where the artifact lies now, if it has moved.
    within_s : float
        Fills further apart in time are not the same.

    """

    path: Path
    overrides: Sequence[str] = ()
    file: Config | None = None
    artifact: Path | None = None
    within_s: float = 10.0


def compare(config: Config, asked: Asked, progress: Progress = SILENT) -> Comparison:
    """Hold a run against backtests of what it traded, and keep the result with a page in a run folder.

    Parameters
    ----------
    config : Config
        Says where results go, and where recordings lie that the run's own catalog has not.
    asked : Asked
    progress : Progress

    Raises
    ------
    ConfigError, DataError, ModelError
        What the run left is damaged or not there, nobody recorded the day, or the artifact is another one.

    """
    record = open_record(asked.path, Path(config.runs.path))
    run = record.header.config
    assumed = _assumed(run, asked)
    model = _artifact(record.header, asked.artifact)
    here = override(run, {"data.path": config.data.path, "runs.path": config.runs.path})
    is_named = asked.file is not None or any(text.startswith("data.path=") for text in asked.overrides)
    catalogs = [here] if is_named else [run, here]
    with tempfile.TemporaryDirectory(prefix="cmm-compare-") as scratch:
        days = []
        for number, span in enumerate(record.spans):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            days.append(_compare_span(record, span, catalogs, assumed, model, asked, folder, progress))
    arguments = {"run": str(record.folder), "overrides": list(asked.overrides), "within_s": asked.within_s}
    kept = override(assumed, {"runs.path": config.runs.path})
    with run_folder(kept, "compare", arguments) as staged:
        done = _sum_up(record, days, staged)
        write_json(staged / "compare.json", done, indented=True)
        write_page(staged / "report.html", done, assumed)
    return done


def _assumed(run: Config, asked: Asked) -> Config:
    """The run's configuration with what its backtest assumes otherwise."""
    for text in asked.overrides:
        section = text.partition("=")[0].partition(".")[0]
        if section not in (*_ASSUMED, *_PLACES):
            raise ConfigError(
                f"--set {text}: the backtest trades as the run did; what it may assume otherwise is of "
                f"{', '.join(_ASSUMED)}"
            )
    if asked.file is not None:
        run = msgspec.structs.replace(run, **{name: getattr(asked.file, name) for name in _ASSUMED})
    return apply(run, [text for text in asked.overrides if text.partition(".")[0] in _ASSUMED])


def _artifact(header: Header, moved: Path | None) -> Path | None:
    """The artifact that forecast in the run.

    Raises
    ------
    ConfigError
        Another one lies there now.

    """
    if header.artifact is None:
        return None
    folder = moved or Path(header.artifact)
    if moved is None and not folder.is_dir():
        folder = SHIPPED
    if artifact.read(folder).hash != header.artifact_hash:
        raise ConfigError(
            f"{moved or header.artifact}: not the artifact of this run, which has the hash {header.artifact_hash}; "
            "name the folder where that lies now with --artifact"
        )
    return folder


def _compare_span(
    record: Record, span: Span, catalogs: list[Config], assumed: Config, model: Path | None, asked: Asked,
    scratch: Path, progress: Progress,
) -> DayShown:  # fmt: skip
    within_ns = round(asked.within_s * 1e9)
    market = find_market(record, span, catalogs, scratch)
    found = Chain(record, span, market, assumed, scratch, within_ns, progress).explain(model)
    value = FillValuation(found.assumed.contract.mark_value, last_mid(found.assumed.recorder))
    theirs = found.assumed.recorder.fills
    steps = steps_of(theirs, found.stages, value, within_ns)
    pairs = match(found.ours, theirs, within_ns)
    return comparison.day_shown(
        str(market.day.date), span, market, found, steps, pairs, by_fill(pairs, value), value, assumed.venue.latency
    )  # fmt: skip


def _sum_up(record: Record, days: list[DayShown], staged: Path) -> Comparison:
    sums = comparison.total_of([msgspec.structs.asdict(day.pnl) for day in days])
    split: dict[Cause, float] = {cause: sum(day.split[cause] for day in days) for cause in CAUSES}
    counts = {name: sum(day.fills[name] for day in days) for name in days[0].fills}
    changed: dict[Cause, int] = {cause: sum(day.changed[cause] for day in days) for cause in CAUSES}
    causes = comparison.causes_of(split, changed)
    folder, header = final_name(staged), record.header
    currency, pnl = days[0].currency, Pnl(**sums)
    return Comparison(
        run=str(record.folder), mode=record.mode, instrument=header.instrument, quoter=header.quoter,
        currency=currency, headline=comparison.headline(pnl, causes, split, changed, currency), pnl=pnl,
        split=split, changed=changed, causes=causes, fills=counts, days=days,
        by_fills=comparison.total_of([day.by_fills for day in days]),
        notes=list(dict.fromkeys(note for day in days for note in day.notes)),
        folder=str(folder), page=str(folder / "report.html"),
    )  # fmt: skip
