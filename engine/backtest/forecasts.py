"""Features and forecasts of a recorded day, computed once: they depend on market and model, never on orders of ours.

What was computed is kept below the catalog, by a hash of all that it depends on, so that it is never stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import msgspec
import numba
import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

import market.array_book
import models
from engine.backtest.kept_arrays import KeptArrays
from engine.config import Config
from market.array_file import Arrays, ArrayWriter
from market.columns import Columns
from models.ensemble.market_path import Lessons, MarketPath, Walk, blank, updates_in
from models.ensemble.predictor import Predictor
from models.ensemble.recalibrate import Recalibrator
from models.features.book_features import TREND_HALF_LIFE, FeatureSpec
from venues.recordings.catalog import Catalog, Day

_LEARNT = "learnt."
_GIGA = 10**9

type Note = Callable[[str], None]


def market_path(
    config: Config,
    catalog: Catalog,
    day: Day,
    spec: FeatureSpec,
    predictor: Predictor | None = None,
    lessons: Lessons | None = None,
    note: Note = lambda _: None,
) -> MarketPath:
    """The path of one day: from the catalog's `forecasts/` where it is kept, else computed, and kept.

    Parameters
    ----------
    config : Config
    catalog : Catalog
    day : Day
    spec : FeatureSpec
        The predictor's, where there is one.
    predictor : Predictor, optional
        Where one recalibrates it goes on from what it has learnt, and holds afterwards what this day taught it,
        whether the path was kept or not.
    lessons : Lessons, optional
        Where it learns; for a predictor that recalibrates.
    note : callable
        Is told why a path could not be kept.

    Returns
    -------
    MarketPath
        Read-only; memory maps where it is kept.

    """
    columns = catalog.columns(day)
    kept = KeptArrays(catalog.root / "forecasts", round(config.data.forecasts_gb * _GIGA))
    key = _key(day, columns, spec, predictor, lessons)
    learner = predictor.recalibrator if predictor is not None else None
    found = kept.open(key)
    if found is not None:
        return _taken(found, learner)
    before = learner.learnt() if learner is not None else {}
    begin = partial(Walk, columns, spec, day.depth, predictor, lessons)
    room, updates = blank(0), updates_in(columns)
    shapes = {name: (array.dtype, (updates, *array.shape[1:])) for name, array in room._asdict().items()}
    shapes |= {_LEARNT + name: (array.dtype, array.shape) for name, array in before.items()}
    if kept.room_for(shapes):
        try:
            with kept.making(key):
                found = kept.open(key)
                if found is not None:
                    return _taken(found, learner)
                with kept.writing(key, shapes) as entry:
                    _write(entry, begin(), learner)
            found = kept.open(key)
            if found is not None:
                return _taken(found, learner)
        except OSError as error:
            note(f"{catalog.root / 'forecasts'}: forecasts are not kept ({error.strerror or error}); free some space")
        if learner is not None:
            learner.go_on(before)
    return _in_memory(begin(), updates)


def _write(entry: ArrayWriter, walk: Walk, learner: Recalibrator | None) -> None:
    at = 0
    for block in walk:
        for name, values in block._asdict().items():
            entry.write(name, at, values)
        at += len(block.ready)
    if learner is not None:
        for name, array in learner.learnt().items():
            entry.write(_LEARNT + name, 0, array)


def _taken(found: Arrays, learner: Recalibrator | None) -> MarketPath:
    """The path among what was kept; the learner takes what the day taught it."""
    if learner is not None:
        learner.go_on({n.removeprefix(_LEARNT): array for n, array in found.items() if n.startswith(_LEARNT)})
    return MarketPath(**{name: found[name] for name in MarketPath._fields})  # type: ignore[arg-type]


def _in_memory(walk: Walk, updates: int) -> MarketPath:
    path, at = blank(updates), 0
    for block in walk:
        whole = path._asdict()
        for name, values in block._asdict().items():
            whole[name][at : at + len(values)] = values
        at += len(block.ready)
    for array in path:
        array.flags.writeable = False
    return path


def _key(day: Day, columns: Columns, spec: FeatureSpec, predictor: Predictor | None, lessons: Lessons | None) -> str:
    """Hash of all that a path depends on, 32 hex digits."""
    hashed = hashlib.blake2b(digest_size=16)
    model = predictor.manifest.hash if predictor is not None else ""
    parts = (_code(), day.sha256, day.start_ns, day.depth, spec.hash, TREND_HALF_LIFE, model)
    hashed.update(msgspec.json.encode(parts))
    _add(hashed, kind=columns.kind, clear=columns.clear)  # what the recording's own hash leaves out
    learner = predictor.recalibrator if predictor is not None else None
    if learner is not None and lessons is not None:
        hashed.update(msgspec.json.encode((learner.identity, lessons.min_confidence)))
        _add(hashed, usable=lessons.usable, **learner.learnt())
    return hashed.hexdigest()


def _add(hashed: hashlib.blake2b, **arrays: NDArray[np.generic]) -> None:
    for name, array in arrays.items():
        hashed.update(f"{name} {array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")


@cache
def _code() -> str:
    """Hash of the code that computes a path, of the libraries below it and of the processor it is compiled for."""
    hashed = hashlib.blake2b(digest_size=16)
    root = Path(str(models.__file__)).parent
    own = [*(root / "features").glob("*.py"), *(root / "ensemble").glob("*.py"), Path(market.array_book.__file__)]
    for path in sorted(own):
        hashed.update(path.name.encode() + b"\0" + path.read_bytes())
    processor = cpu_target.target_context.codegen().magic_tuple()
    hashed.update(repr((np.__version__, numba.__version__, processor)).encode())
    return hashed.hexdigest()
