"""Memory of mapped files that is given back, and totals that are kept block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backtest import run_record
from engine.backtest.episode import Steps
from engine.backtest.run_record import parts
from engine.reports.figures import sorted_groups
from market.mapped import release


@pytest.mark.parametrize("rows", [(0, 100_000), (5, 99_999), (70_000, 10), (0, 1_000_000)])
def test_a_map_that_was_released_reads_the_same(tmp_path: Path, rows: tuple[int, int]) -> None:
    written = np.arange(300_000, dtype=np.int64).reshape(-1, 3)
    np.save(tmp_path / "a.npy", written)
    mapped = np.asarray(np.load(tmp_path / "a.npy", mmap_mode="r"))
    view = mapped[7:].view()
    for array in (mapped, view):
        release(array, *rows)
    assert np.array_equal(mapped, written)
    assert np.array_equal(view, written[7:])


def test_what_was_written_is_never_given_back(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(100_000))
    for array in (np.load(tmp_path / "a.npy", mmap_mode="c"), np.zeros(100_000)):
        array[:] = 3.0
        release(array, 0, len(array))
        assert (array == 3.0).all()


@given(st.lists(st.tuples(st.integers(0, 19), st.floats(-1e9, 1e9)), max_size=12))
def test_steps_are_the_running_total(changes: list[tuple[int, float]]) -> None:
    changes.sort(key=lambda change: change[0])
    flow = np.zeros(20)
    np.add.at(flow, np.array([at for at, _ in changes], np.int64), np.array([amount for _, amount in changes]))
    starts = np.unique(np.array([at for at, _ in changes], np.int64))
    steps = Steps(starts, np.cumsum(flow[starts]))
    assert steps.after_each(20).tobytes() == np.cumsum(flow).tobytes()
    assert steps.at(np.arange(20)).tobytes() == np.cumsum(flow).tobytes()


@given(st.lists(st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0, 1.5, 7.0]), max_size=60), st.integers(1, 20))
def test_groups_are_those_of_a_stable_sort(values: list[float], groups: int) -> None:
    array = np.array(values, np.float32)
    found = [group.tolist() for group in sorted_groups(array, groups)]
    whole = np.array_split(np.argsort(array, kind="stable"), groups)
    assert found == [group.tolist() for group in whole if len(group)]


@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_cover_all_in_order(count: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_record, "AT_ONCE", at_once)
        assert [i for part in parts(count) for i in range(count)[part]] == list(range(count))
