"""Columns: what Nautilus' files say, event by event; kept whole, made anew where they are not."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model import OrderBookDeltas, TradeTick

from market.array_book import state_of
from market.array_file import ArrayWriter
from market.columns import BOOK, TRADE, Columns
from market.contracts import ContractTable
from market.errors import DataError
from market.events import ASK, BID, BookUpdate, Event, OrderUpdate, Trade
from market.nautilus import Decoder, Instrument, batches, owners
from tests.conftest import ctp_day, ctp_file
from tests.reference_order_levels import OrderLevels
from tests.reference_quality import measured
from venues.recordings import column_files, column_kernels, day_writer, quality
from venues.recordings.catalog import Catalog, Day
from venues.recordings.column_files import open_columns
from venues.recordings.importer import import_events, import_recording
from venues.recordings.loaders import recordings
from venues.recordings.quality import measure
from venues.simulation.recorded_book import RecordedBook

NAME = "QR.SIM"
START = int(dt.datetime(2020, 3, 2, 9, tzinfo=dt.UTC).timestamp()) * 10**9

side, price, size = st.sampled_from((BID, ASK)), st.integers(95, 105), st.integers(0, 4)
levels = st.lists(st.tuples(side, price, size), min_size=1, max_size=4)
trades = st.builds(
    lambda price, size, side: Trade(NAME, 0, 0, price, size, side), price, st.integers(1, 9), st.sampled_from((0, 1, 2))
)
changes = st.builds(lambda rows: BookUpdate(NAME, 0, 0, rows), levels)


def snapshots(depth: int) -> st.SearchStrategy[BookUpdate]:
    shown = st.lists(st.tuples(side, price, st.integers(1, 4)), min_size=1, max_size=2 * depth)
    return st.builds(lambda rows: BookUpdate(NAME, 0, 0, rows, snapshot=True, depth=depth), shown)


orders = st.builds(
    lambda order, side, price, size, last, reset: OrderUpdate(
        NAME, 0, 0, order, side, price, size, last=last, reset=reset
    ),
    st.integers(1, 6), side, st.integers(99, 101), size, st.booleans(), st.sampled_from([True] + 19 * [False]),
)  # fmt: skip


def stamped(events: Iterable[Event]) -> Iterator[Event]:
    """Some arrive together, and the exchange's clock is not ours."""
    for place, event in enumerate(events):
        ts = START + place // 2 * 1_000
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        yield type(event)(**fields | {"ts_event": ts - 500, "ts_recv": ts})


def written(root: Path, events: list[Event]) -> tuple[Catalog, Day] | None:
    catalog = Catalog(root, ContractTable())
    try:
        done = import_events(catalog, stamped(events), "made up", "simulator", [], Counter(), lambda *_: None)
    except DataError:  # nothing but trades before a book
        return None
    return catalog, done.days[0]


def agree(catalog: Catalog, day: Day) -> Columns:
    """Compare a day's columns with Nautilus' files, the recorded book and its orders; return them."""
    c, decoder = catalog.columns(day), Decoder(Instrument(catalog.contract(day)))
    e = row = 0
    for part in day.pieces:
        book, levels = RecordedBook(day.depth), OrderLevels()
        for sequence, event in enumerate(replayed(catalog, part), 1):
            assert (c.ts[e], c.ts_event[e]) == (event.ts_init, event.ts_event)
            assert (c.first[e], c.sequence[e]) == (row, sequence)
            if isinstance(event, TradeTick):
                assert (c.kind[e], c.clear[e], c.first[e + 1]) == (TRADE, False, row + 1)
                assert (c.price[row], c.size[row], c.side[row]) == decoder.trade(event)
                if day.orders:
                    assert (c.order[row], c.stood[row], c.joined[row]) == (0, 0, -1)
            else:
                rows, clear = decoder.levels(event)
                assert (c.kind[e], c.clear[e], c.first[e + 1]) == (BOOK, clear, row + len(rows))
                found = slice(row, row + len(rows))
                told = zip(c.side[found].tolist(), c.price[found].tolist(), c.size[found].tolist(), strict=True)
                assert list(told) == rows
                if day.orders:
                    follow(c, row, levels, rows, owners(event), clear)
                book.apply(np.array(rows, np.int64).reshape(-1, 3), len(rows), clear)
            assert c.shown[e].tolist() == book.shown.tolist()
            assert c.state[e] == state_of(book._book.price, book._book.count)
            row = int(c.first[e + 1])
            e += 1
    assert (e, row) == (len(c.kind), len(c.price))
    return c


def replayed(catalog: Catalog, part: Day) -> Iterator[OrderBookDeltas | TradeTick]:
    for deltas, trades in catalog.chunks(part):
        yield from sorted([*batches(deltas), *trades], key=lambda event: event.ts_init)


def follow(
    c: Columns, row: int, levels: OrderLevels, rows: list[tuple[int, int, int]], owners: list[int], clear: bool
) -> None:
    """Take an update step by step: what an order had, and when it last went to the end."""
    if clear:
        levels.clear()
    for (side, price, size), order in zip(rows, owners, strict=True):
        stood, joined = levels.step(side, price, size, order, row)
        assert (c.order[row], c.stood[row], c.joined[row]) == (order, stood, joined)
        row += 1


@pytest.mark.parametrize("kinds", [changes, snapshots(1), snapshots(3), orders], ids=["changes", "1", "3", "orders"])
def test_columns_say_what_nautilus_files_say(kinds: st.SearchStrategy[Event]) -> None:
    @settings(max_examples=25)
    @given(st.lists(st.one_of(kinds, kinds, trades), min_size=1, max_size=30), st.integers(1, 12))
    def holds(events: list[Event], chunk: int) -> None:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(day_writer, "CHUNK", chunk)
            made = written(Path(folder) / "data", events)
            if made is None:
                return
            catalog, day = made
            kept = [np.array(column) for column in agree(catalog, day)]
            shutil.rmtree(catalog.root / "columns")
            for one, other in zip(kept, catalog.columns(day), strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
            assert measure(catalog, day) == measured(catalog, day, 1)

    holds()


def test_a_day_is_measured_as_event_by_event(
    sim: tuple[Catalog, Day], catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "_MAX_SERIES", sim[1].book_updates // 3)
    rows = ctp_day(tmp_path / "whole.csv", 300).read_text().splitlines()[1:]
    imported(catalog, ctp_file(tmp_path / "gap.csv", rows[:100] + rows[150:]))
    for where, day, keep in ((*sim, 3), (catalog, catalog.day("IF2101.CFFEX", dt.date(2021, 1, 4)), 1)):
        found, series = measure(where, day)
        expected = measured(where, day, keep)
        assert found == expected[0]
        assert (series.ts_ns, series.mid, series.spread) == (expected[1].ts_ns, expected[1].mid, expected[1].spread)
        assert series.trades == expected[1].trades[: quality._MAX_SERIES]
    assert len(found.gaps) == 1


def test_orders_of_gone_levels_are_forgotten_and_nobody_else() -> None:
    columns = column_files.blank(3, 3, 1)
    columns.kind[:], columns.clear[:], columns.first[:], columns.side[:] = BOOK, False, range(4), BID
    columns.price[:], columns.size[:], columns.order[:] = (100, 101, 100), (5, 3, 9), (1, 2, 1)
    queues = column_kernels.new_queues()
    queues[1][(7, 1, 50)] = (2, 0, 99)  # stands at a level that is gone
    queues[2][1] = -(1 << 16)
    many = {(order, 2, 60): (1, 0, 98) for order in range(1 << 16)}
    for key, value in many.items():
        queues[1][key] = value
    stood, joined = np.zeros(3, np.int64), np.zeros(3, np.int64)
    changes = (columns.kind, columns.clear, columns.first, columns.side, columns.price, columns.size, columns.order)
    column_kernels.follow_orders(*changes, 10, queues, stood, joined)
    assert (stood.tolist(), joined.tolist()) == ([0, 0, 5], [-1, -1, 10])
    assert dict(queues[1]) == {(1, 1, 100): (9, 12, 1), (2, 1, 101): (3, 11, 2)}


def imported(catalog: Catalog, path: Path, again: bool = False) -> Day:
    (recording,) = recordings([path])
    return import_recording(catalog, recording, lambda *_: None, again).days[0]


def test_a_day_of_several_parts_is_one(catalog: Catalog, tmp_path: Path) -> None:
    rows = ctp_day(tmp_path / "whole.csv", 300).read_text().splitlines()[1:]
    for name, (start, stop) in {"b": (200, 300), "a": (0, 150)}.items():
        imported(catalog, ctp_file(tmp_path / f"{name}.csv", rows[start:stop]))
    (day,) = catalog.days("IF2101.CFFEX").values()
    assert len(day.parts) == 2
    columns = agree(catalog, day)
    assert not any(column.flags.writeable for column in columns)
    assert columns.clear.sum() == 2
    assert (np.diff(columns.ts) > 0).all()
    (catalog.root / "columns" / "IF2101.CFFEX" / "2021-01-04.1").mkdir()  # as version 1 kept them
    day = imported(catalog, ctp_file(tmp_path / "c.csv", rows), again=True)  # replaces both
    assert len(agree(catalog, day).kind) == day.book_updates + day.trades
    assert len(list((catalog.root / "columns" / "IF2101.CFFEX").iterdir())) == 1


def test_columns_of_orders_in_several_parts_count_rows_of_the_whole_day() -> None:
    one = column_files.blank(1, 2, 1)
    one.first[:] = 0, 2
    part = one._replace(joined=np.array([-1, 0], np.int64))
    whole = column_files.join([part, part])
    assert whole.joined.tolist() == [-1, 0, -1, 2]
    assert whole.first.tolist() == [0, 2, 4]


def test_an_import_stopped_before_the_manifest_leaves_columns_that_count_for_nothing(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ctp_day(tmp_path / "a.csv")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "_enter", die)
        with pytest.raises(KeyboardInterrupt):
            imported(catalog, path)
    assert list((catalog.root / "columns").rglob("*.arrays"))
    assert catalog.instruments() == []
    day = imported(catalog, ctp_day(tmp_path / "b.csv", 200))
    assert len(list((catalog.root / "columns" / day.instrument).iterdir())) == 1
    agree(catalog, day)


@pytest.mark.parametrize("harm", ["gone", "cut", "unfinished", "few", "other"])
def test_columns_that_are_not_whole_are_made_anew(catalog: Catalog, tmp_path: Path, harm: str) -> None:
    day = imported(catalog, ctp_day(tmp_path / "a.csv", 50))
    (path,) = (catalog.root / "columns" / day.instrument).iterdir()
    whole = path.read_bytes()
    (catalog.root / "columns" / ".making.1").mkdir()  # of a process that was killed
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(whole[:-8])
    elif harm == "unfinished":
        path.write_bytes(bytes(len(whole)))
    else:
        columns = open_columns(path)
        harmed = {"ts": columns.ts} if harm == "few" else columns._replace(ts=columns.ts[1:])._asdict()
        with ArrayWriter(path, {name: (column.dtype, column.shape) for name, column in harmed.items()}) as file:
            file.finish("columns", hashed=False)
    agree(catalog, day)
    assert path.read_bytes() == whole
    assert not list((catalog.root / "columns").glob(".making*"))


def test_a_day_whose_files_are_gone_says_so(catalog: Catalog, tmp_path: Path) -> None:
    day = imported(catalog, ctp_day(tmp_path / "a.csv", 50))
    shutil.rmtree(catalog.root / "columns")
    shutil.rmtree(catalog.root / "data" / "trades")
    with pytest.raises(DataError, match=r"holds 50 events of it, the manifest says 99; .* --again"):
        catalog.columns(day)
    assert not list((catalog.root / "columns").rglob("*.arrays"))


def test_a_catalog_that_cannot_be_written_still_gives_columns(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = imported(catalog, ctp_day(tmp_path / "a.csv", 50))
    shutil.rmtree(catalog.root / "columns")
    make = Path.mkdir

    def refuse(path: Path, *args: object, **options: object) -> None:
        if catalog.root in path.parents:
            raise PermissionError(path)
        make(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    agree(catalog, day)
    assert not (catalog.root / "columns").exists()
