"""The markets that backtests are timed on: real recordings where they are found, and a simulated one."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from market.contracts import ContractTable
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events, import_recording
from venues.recordings.loaders import recordings
from venues.recordings.simulator import simulate


class Timeable(NamedTuple):
    """Days of one instrument; and a shorter piece of the first of them, for lanes that would take minutes."""

    name: str
    catalog: Catalog
    days: list[Day]
    short: tuple[Catalog, Day]


class _Recorded(NamedTuple):
    name: str
    files: tuple[str, ...]
    lines: int
    """So many of the first file are the shorter piece."""


_RECORDED = (
    _Recorded("IF2101 2021-01-11", ("ctp/CFFEX.IF2101.20210111.csv.gz",), 6_000),
    _Recorded(
        "BTCUSDT-PERP 2024-07-18/19",
        ("binance/usdm_btcusdt_20240718.gz", "binance/usdm_btcusdt_20240719.gz"),
        1_000_000,  # the whole first file: a minute of it warms features up
    ),
)
_SIMULATED_S, _SIMULATED_SHORT_S = 7200.0, 300.0
_START_NS = int(dt.datetime(2020, 1, 6, 9, tzinfo=dt.UTC).timestamp()) * 10**9


def folder() -> Path:
    """Where real recordings are looked for."""
    return Path(os.environ.get("CMM_DATA", "../shared/data"))


def recorded(scratch: Path, skipped: list[str]) -> Iterator[Timeable]:
    """Import each recording into a catalog below `scratch`; what is not there is said in `skipped`, a sentence each."""
    for i, one in enumerate(_RECORDED):
        files = [folder() / name for name in one.files]
        missing = [path for path in files if not path.is_file()]
        if missing:
            skipped.append(f"{one.name} is skipped: {missing[0]} is not there (set CMM_DATA)")
            continue
        catalog, days = _imported(scratch / f"{i}", files)
        short, (first, *_) = _imported(
            scratch / f"{i}-short", [_beginning(files[0], scratch / f"{i}-lines", one.lines)]
        )
        yield Timeable(one.name, catalog, days, (short, first))


def markets(scratch: Path, skipped: list[str]) -> Iterator[Timeable]:
    """The recordings, and a simulated market."""
    yield from recorded(scratch, skipped)
    catalog, day = simulated(scratch / "simulated", _SIMULATED_S)
    name = f"QR.SIM, {_SIMULATED_S / 3600:g} h simulated"
    yield Timeable(name, catalog, [day], simulated(scratch / "simulated-short", _SIMULATED_SHORT_S))


def simulated(root: Path, seconds: float) -> tuple[Catalog, Day]:
    """A simulated day of that length in a catalog of its own."""
    catalog = Catalog(root, ContractTable())
    events = simulate(1, seconds, _START_NS)
    done = import_events(catalog, events, "benchmark", "simulator", [], Counter(), lambda *_: None)
    return catalog, done.days[0]


def _imported(root: Path, files: list[Path]) -> tuple[Catalog, list[Day]]:
    catalog = Catalog(root, ContractTable())
    found = recordings(files)
    days = [day for recording in found for day in import_recording(catalog, recording, lambda *_: None).days]
    return catalog, days


def _beginning(path: Path, target: Path, lines: int) -> Path:
    """The first lines of a recording, under its own name."""
    target.mkdir(parents=True)
    shorter = target / path.name
    with gzip.open(path, "rb") as whole, gzip.open(shorter, "wb", compresslevel=1) as out:
        out.writelines(islice(whole, lines))
    return shorter
