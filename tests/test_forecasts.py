"""Forecasts that are kept: used where they are right, made again where they are not, and never too many."""

from __future__ import annotations

import errno
import multiprocessing as mp
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.backtest import forecasts
from engine.backtest.forecasts import market_path
from engine.backtest.kept_arrays import KeptArrays
from engine.config import SHIPPED, Config
from market.array_file import ArrayWriter
from market.contracts import ContractTable
from models.ensemble import artifact
from models.ensemble.market_path import Lessons, MarketPath, Walk
from models.ensemble.predictor import Predictor
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.features.book_features import FeatureSpec
from venues.recordings.catalog import Catalog, Day

MOVING = RecalibrateConfig(enabled=True, half_life_s=60, sample_s=0.2, every_s=5)
SPEC = artifact.read(SHIPPED).spec


@pytest.fixture
def kept(brief: tuple[Catalog, Day], tmp_path: Path) -> tuple[Catalog, Day]:
    """A copy of the short simulated market, without forecasts."""
    shutil.copytree(brief[0].root, tmp_path / "data", ignore=shutil.ignore_patterns("forecasts"))
    return Catalog(tmp_path / "data", ContractTable()), brief[1]


def same(one: MarketPath, other: MarketPath) -> bool:
    return all(a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def files(catalog: Catalog) -> list[Path]:
    return sorted((catalog.root / "forecasts").glob("*.arrays"))


class Walks:
    """How often a path is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def counted(*arguments: Any) -> Walk:
            self.count += 1
            return Walk(*arguments)

        monkeypatch.setattr(forecasts, "Walk", counted)


def limited(gigabytes: float) -> Config:
    return msgspec.structs.replace(Config(), data=msgspec.structs.replace(Config().data, forecasts_gb=gigabytes))


def computed(kept: tuple[Catalog, Day]) -> MarketPath:
    return market_path(limited(0), *kept, SPEC, Predictor(SHIPPED))


def test_a_path_is_computed_once(kept: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    expected, walks = computed(kept), Walks(monkeypatch)
    assert not (kept[0].root / "forecasts").exists()
    paths = [market_path(Config(), *kept, SPEC, Predictor(SHIPPED)) for _ in range(3)]
    assert all(same(path, expected) for path in paths)
    assert walks.count == 1
    assert not paths[1].forecasts.flags.writeable
    assert np.isfinite(expected.forecasts).any()


def test_whatever_a_path_depends_on_makes_another(kept: tuple[Catalog, Day], tmp_path: Path) -> None:
    catalog, day = kept
    other = tmp_path / "artifact"
    shutil.copytree(SHIPPED, other)
    manifest = artifact.read(other)
    (other / artifact.MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, name="another")))
    usable = np.ones(day.book_updates, np.bool_)
    calls: list[tuple[Day, FeatureSpec, Predictor | None, Lessons | None]] = [
        (day, SPEC, Predictor(SHIPPED), None),
        (day, SPEC, None, None),
        (day, msgspec.structs.replace(SPEC, warm_up_s=1.0), None, None),
        (day, SPEC, Predictor(other), None),
        (msgspec.structs.replace(day, sha256="0" * 64), SPEC, None, None),
        (day, SPEC, Predictor(SHIPPED, MOVING), Lessons(usable, 0.0)),
        (day, SPEC, Predictor(SHIPPED, MOVING), Lessons(~usable, 0.0)),
        (day, SPEC, Predictor(SHIPPED, MOVING), Lessons(usable, 0.5)),
        (day, SPEC, Predictor(SHIPPED, msgspec.structs.replace(MOVING, prior=0.5)), Lessons(usable, 0.0)),
    ]
    keys = {forecasts._key(of, catalog.columns(day), spec, model, lessons) for of, spec, model, lessons in calls}
    assert len(keys) == len(calls)
    again = forecasts._key(day, catalog.columns(day), SPEC, Predictor(SHIPPED), None)
    assert again in keys


def test_another_code_makes_another(kept: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    market_path(Config(), *kept, SPEC)
    monkeypatch.setattr(forecasts, "_code", lambda: "another")
    market_path(Config(), *kept, SPEC)
    assert len(files(kept[0])) == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "header", "empty", "longer", "other"])
def test_a_damaged_one_is_made_again(kept: tuple[Catalog, Day], harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = computed(kept)
    market_path(Config(), *kept, SPEC, Predictor(SHIPPED))
    (path,) = files(kept[0])
    whole = path.read_bytes()
    harmed = {
        "flip": whole[:20_000] + bytes([whole[20_000] ^ 1]) + whole[20_001:],
        "cut": whole[:-1], "header": b"{" + whole[1:].replace(b"<f8", b"<f4", 1), "empty": b"", "longer": whole + b"\0",
        "other": whole.replace(path.stem.encode(), b"0" * 32, 1),
    }[harm]  # fmt: skip
    path.write_bytes(harmed)
    walks = Walks(monkeypatch)
    assert same(market_path(Config(), *kept, SPEC, Predictor(SHIPPED)), expected)
    assert walks.count == 1
    assert path.read_bytes() == whole


def test_what_was_learnt_is_kept_too(kept: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, day = kept
    lessons = Lessons(np.random.default_rng(1).random(day.book_updates) < 0.9, 0.0)
    seen = []
    walks = Walks(monkeypatch)
    for config in (limited(0), Config(), Config()):
        predictor = Predictor(SHIPPED, MOVING)
        assert predictor.recalibrator is not None
        paths = [market_path(config, catalog, day, SPEC, predictor, lessons) for _ in range(2)]
        assert not same(*paths)  # the second day begins with what the first taught
        assert predictor.recalibrator.refits > 10
        predictor.features[0] = 0.5
        learnt = {name: array.tobytes() for name, array in predictor.recalibrator.learnt().items()}
        seen.append(([array.tobytes() for path in paths for array in path], learnt, predictor.predict()))
    assert seen[0] == seen[1] == seen[2]
    assert walks.count == 4


def test_the_oldest_make_room(kept: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [msgspec.structs.replace(SPEC, warm_up_s=float(i)) for i in range(4)]
    market_path(Config(), *kept, specs[0])
    size = files(kept[0])[0].stat().st_size
    config, order = limited(2.5 * size / 1e9), iter(range(10**9, 10**10, 10**9))
    touch = os.utime
    monkeypatch.setattr(os, "utime", lambda path: touch(path, ns=(now := next(order), now)))  # a clock of our own
    for spec in (specs[0], specs[1], specs[0], specs[2]):
        market_path(config, *kept, spec)
    assert len(files(kept[0])) == 2
    walks = Walks(monkeypatch)
    market_path(config, *kept, specs[0])
    market_path(config, *kept, specs[2])
    assert walks.count == 0
    market_path(config, *kept, specs[1])
    assert walks.count == 1
    market_path(limited(0.5 * size / 1e9), *kept, specs[3])  # larger than all that may be kept
    assert len(files(kept[0])) == 2


def test_a_full_disk_is_said_and_harms_nothing(kept: tuple[Catalog, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, day = kept
    lessons, notes = Lessons(np.ones(day.book_updates, np.bool_), 0.0), list[str]()
    expected, moved = Predictor(SHIPPED, MOVING), Predictor(SHIPPED, MOVING)
    path = market_path(limited(0), *kept, SPEC, expected, lessons)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ArrayWriter, "finish", full)
    assert same(market_path(Config(), *kept, SPEC, moved, lessons, notes.append), path)
    assert len(notes) == 1
    assert "No space left on device" in notes[0]
    assert [p.name for p in (catalog.root / "forecasts").iterdir() if not p.name.startswith(".lock")] == []
    assert expected.recalibrator is not None
    assert moved.recalibrator is not None
    a, b = expected.recalibrator.learnt(), moved.recalibrator.learnt()
    assert {name: array.tobytes() for name, array in a.items()} == {name: array.tobytes() for name, array in b.items()}


def test_a_folder_that_cannot_be_made_is_said(kept: tuple[Catalog, Day]) -> None:
    (kept[0].root / "forecasts").write_text("in the way")
    notes = list[str]()
    assert same(market_path(Config(), *kept, SPEC, Predictor(SHIPPED), None, notes.append), computed(kept))
    assert "not kept" in notes[0]


def test_what_a_killed_process_left_is_cleared_away(kept: tuple[Catalog, Day]) -> None:
    market_path(Config(), *kept, SPEC)
    (path,) = files(kept[0])
    left = path.with_name(f".{path.name}.4711")
    os.replace(path, left)
    market_path(Config(), *kept, SPEC)
    assert not left.exists()
    assert files(kept[0]) == [path]


def _ask(root: Path, day: Day, results: Any) -> None:
    walked = []
    forecasts.Walk = lambda *a: walked.append(1) or Walk(*a)  # type: ignore[assignment,misc,func-returns-value]
    path = market_path(Config(), Catalog(root, ContractTable()), day, SPEC, Predictor(SHIPPED))
    results.put((hash_of(path), len(walked)))


def hash_of(path: MarketPath) -> list[bytes]:
    return [array.tobytes() for array in path]


def test_processes_share_one(kept: tuple[Catalog, Day]) -> None:
    context = mp.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_ask, args=(kept[0].root, kept[1], results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    expected = hash_of(computed(kept))
    assert all(hashes == expected for hashes, _ in found)
    assert len(files(kept[0])) == 1


def test_entries_hold_any_arrays(tmp_path: Path) -> None:
    arrays = {"none": np.zeros((0, 3), np.float32), "one": np.array(7, np.int64), "many": np.arange(12.0).reshape(4, 3)}
    kept, key = KeptArrays(tmp_path / "kept", 10**6), "a" * 32
    shapes = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    with kept.making(key), kept.writing(key, shapes) as entry:
        for name, array in arrays.items():
            entry.write(name, 0, array)
    found = kept.open(key)
    assert found is not None
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert kept.open("b" * 32) is None
