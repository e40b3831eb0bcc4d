"""What the loader makes of a capture: gaps, damage, clocks; what is not known is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from market.contracts import ContractTable
from market.errors import DataError
from market.events import ASK, BID, BUY, BookUpdate, Trade
from tests.captures import BOOK, BTC, FRAMES, HEADER, T0, S, book_after, change, pieces, told, trade, whole, write
from venues.recordings.capture.format import Change, Key, Mark, Record
from venues.recordings.catalog import Catalog
from venues.recordings.importer import import_recording
from venues.recordings.loaders import recordings


def test_events_are_those_that_were_recorded(tmp_path: Path) -> None:
    events, findings = told(write(tmp_path / "a.cap", *FRAMES))
    assert events == [
        BookUpdate(BTC, T0 + S - 1_000_000, T0 + S, BOOK, depth=50),
        BookUpdate(BTC, T0 + 2 * S - 1_000_000, T0 + 2 * S, [(BID, 99, 6)], depth=50),
        Trade(BTC, T0 + 2 * S + 1 - 1_000_000, T0 + 2 * S + 1, 101, 2, BUY),
        BookUpdate(BTC, T0 + 3 * S - 1_000_000, T0 + 3 * S, [(ASK, 101, 0), (ASK, 103, 4)], depth=50),
    ]
    assert not findings.total()
    assert findings.take(BTC) == ({}, [])


def test_a_lost_connection_is_a_gap_and_nothing_of_the_old_book_stays(tmp_path: Path) -> None:
    anew = [(BID, 97, 1), (ASK, 105, 1)]
    events, findings = told(
        write(
            tmp_path / "a.cap",
            [whole(T0), change(T0 + S, (BID, 90, 4))],
            [Mark(T0 + 2 * S, "disconnected"), Mark(T0 + 3 * S, "connected"), whole(T0 + 4 * S, anew)],
        )
    )
    assert book_after(events) == {(BID, 97): 1, (ASK, 105): 1}
    drops, [note] = findings.take(BTC)
    assert drops == {"interrupted": 1}
    assert "interrupted once, 3.0 s in all" in note
    assert "2025-01-01T10:00:01.000+00:00 for 3.0 s (the connection was lost)" in note


def test_a_book_sent_anew_without_a_word_is_a_gap_and_one_sent_twice_is_none(tmp_path: Path) -> None:
    events, findings = told(write(tmp_path / "a.cap", [whole(T0), whole(T0 + S), whole(T0 + 2 * S, BOOK[:3])]))
    assert len(events) == 2
    assert book_after(events) == {(BID, 99): 5, (BID, 98): 9, (ASK, 101): 5}
    drops, [note] = findings.take(BTC)
    assert drops == {"book_repeated": 1, "interrupted": 1}
    assert "messages were lost" in note


def test_a_silence_that_hid_something_is_a_gap_and_a_quiet_market_is_none(tmp_path: Path) -> None:
    silent = Mark(T0 + 30 * S, "silent", T0)
    _, findings = told(write(tmp_path / "a.cap", [whole(T0), silent, whole(T0 + 31 * S)]))
    assert findings.total() == {"book_repeated": 1}
    _, findings = told(write(tmp_path / "b.cap", [whole(T0), silent, whole(T0 + 31 * S, BOOK[1:])]))
    assert "for 31.0 s (the venue fell silent)" in findings.take(BTC)[1][0]


def test_a_connection_that_carries_trades_alone_is_named_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.cap", [whole(T0), Mark(T0 + S, "disconnected"), Mark(T0 + 9 * S, "connected")])
    _, findings = told(path)
    assert "for 8.0 s (a connection was lost)" in findings.take(BTC)[1][0]


def test_a_key_is_told_where_reading_begins_and_nowhere_else(tmp_path: Path) -> None:
    second = replace(HEADER, start_ns=T0 + 2 * S)
    key = Key(T0 + 2 * S, 0, [(BID, 99, 6), *BOOK[1:]])
    first = write(tmp_path / "a.cap", [whole(T0), change(T0 + S, (BID, 99, 6))])
    later = write(tmp_path / "b.cap", [key, change(T0 + 3 * S, (BID, 99, 7))], header=second)
    together, findings = told(later, first)
    assert [event.ts_recv for event in together] == [T0, T0 + S, T0 + 3 * S]
    assert not findings.total()
    alone, findings = told(later)
    assert book_after(alone) == book_after(together)
    assert not findings.total()


def test_a_segment_that_is_missing_is_a_gap(tmp_path: Path) -> None:
    second = replace(HEADER, start_ns=T0 + 60 * S)
    first = write(tmp_path / "a.cap", [whole(T0)])
    third = write(tmp_path / "c.cap", [Key(T0 + 60 * S, 0, BOOK[1:])], header=second)
    events, findings = told(first, third)
    assert book_after(events) == {(side, price): size for side, price, size in BOOK[1:]}
    assert "for 60.0 s (a segment is missing)" in findings.take(BTC)[1][0]


def test_damage_within_a_file_is_a_gap_until_the_book_is_known(tmp_path: Path) -> None:
    frames: list[list[Record]] = [
        [whole(T0)], [change(T0 + S, (BID, 99, 1))], [change(T0 + 2 * S, (BID, 98, 1)), trade(T0 + 2 * S)],
        [Key(T0 + 3 * S, 0, BOOK[:3]), change(T0 + 4 * S, (BID, 98, 3))],
    ]  # fmt: skip
    made = pieces(frames)
    made[2] = made[2][:-1] + bytes([made[2][-1] ^ 1])
    path = tmp_path / "a.cap"
    path.write_bytes(b"".join(made))
    events, findings = told(path)
    assert [event.ts_recv for event in events] == [T0, T0 + 2 * S, T0 + 3 * S, T0 + 4 * S]
    assert isinstance(events[1], Trade)
    assert book_after(events) == {(BID, 99): 5, (BID, 98): 3, (ASK, 101): 5}
    drops, [note] = findings.take(BTC)
    assert drops == {"damaged_frame": 1, "diff_before_snapshot": 1, "interrupted": 1}
    assert "for 1.0 s (the file is damaged)" in note


def test_what_the_recorder_left_out_is_counted_and_the_book_waits(tmp_path: Path) -> None:
    lost = Mark(T0 + S, "lost", T0 + S // 2, 70)
    path = write(tmp_path / "a.cap", [whole(T0), lost, change(T0 + S, (BID, 99, 1)), whole(T0 + 2 * S, BOOK[1:])])
    events, findings = told(path)
    assert len(events) == 2
    drops, [note] = findings.take(BTC)
    assert drops == {"recorder_lost": 70, "diff_before_snapshot": 1, "interrupted": 1}
    assert "left records out" in note


def test_another_run_after_a_kill_is_a_gap(tmp_path: Path) -> None:
    start = Mark(T0 + 8 * S, "start", T0 + S, 0, "killed")
    path = write(tmp_path / "a.cap", [whole(T0), trade(T0 + S)], [start, whole(T0 + 9 * S, sequence=1)])
    _, findings = told(path)
    drops, [note] = findings.take(BTC)
    assert drops == {"interrupted": 1}
    assert "for 8.0 s (the recorder was killed)" in note


def test_trades_count_once_and_a_sequence_that_falls_is_counted(tmp_path: Path) -> None:
    records: list[Record] = [
        whole(T0, sequence=9), trade(T0, trade_id="x"), trade(T0, trade_id="x"), change(T0 + S, (BID, 99, 1), sequence=8)
    ]  # fmt: skip
    events, findings = told(write(tmp_path / "a.cap", records))
    assert len(events) == 3
    assert findings.total() == {"duplicate_trade": 1, "sequence_gap": 1}


def test_clocks_that_lie_are_named(tmp_path: Path) -> None:
    records: list[Record] = [
        whole(T0), Mark(T0, "clock", 10**6, 2 * 10**6), Mark(T0 + S, "clock", 10**6, -2 * S), Mark(T0, "clock", 4 * S, 2 * S),
        Mark(T0 + S, "clock_step", 0, 3 * S), change(T0 + 4 * S, (BID, 99, 1)),
    ]  # fmt: skip
    _, findings = told(write(tmp_path / "a.cap", records))
    drops, notes = findings.take(BTC)
    assert not drops
    assert "-2.000 to -2.000 s off ours at times" in notes[0]
    assert "was set while recording (+3.000 s)" in notes[1]


@pytest.mark.parametrize(
    ("age", "said"),
    [(-2 * S, "arrived up to 2.000 s before"), (3 * S, "sooner than 3.000 s after"), (S // 10, None), (-S // 10, None)],
)
def test_stamps_that_no_connection_explains_are_named(tmp_path: Path, age: int, said: str | None) -> None:
    records: list[Record] = [Change(T0, age, 1, BOOK, True), Change(T0 + S, age + S // 10, 2, BOOK[:1])]
    _, findings = told(write(tmp_path / "a.cap", records))
    notes = findings.take(BTC)[1]
    assert said in notes[0] if said is not None else not notes


def test_a_clock_of_ours_set_back_for_long_costs_what_it_hides_and_no_more(tmp_path: Path) -> None:
    """By minutes: what bears times that were recorded already is left out, and the book comes back whole."""
    records: list[Record] = [
        whole(T0 + 600 * S), Mark(T0, "clock_step", 0, -600 * S), change(T0, (BID, 99, 1)), change(T0 + S, (BID, 98, 1)),
        change(T0 + 601 * S, (BID, 98, 2)), Key(T0 + 602 * S, 0, [(BID, 99, 1), *BOOK[2:]]),
    ]  # fmt: skip
    events, findings = told(write(tmp_path / "a.cap", records))
    assert [event.ts_recv for event in events] == [T0 + 600 * S, T0 + 602 * S]
    assert book_after(events) == {(BID, 99): 1, (ASK, 101): 5, (ASK, 102): 9}
    drops, notes = findings.take(BTC)
    assert drops == {"clock_set_back": 2, "diff_before_snapshot": 1, "interrupted": 1}
    assert any("our clock was set back" in note for note in notes)


def test_terms_that_disagree_are_refused(tmp_path: Path) -> None:
    other = replace(HEADER, tick="0.5")
    with pytest.raises(DataError, match=r"tick 0.5 and lot 0.001, the contract table says 0.1 and 0.001"):
        told(write(tmp_path / "a.cap", [whole(T0)], header=other))


def test_what_changed_between_sessions_is_told_with_the_next_one(tmp_path: Path, contracts: ContractTable) -> None:
    header = replace(HEADER, instrument="IF2101.CFFEX", date="2021-01-04", tick="0.2", lot="1", depth=5)
    opens, noon = 1_609_723_800 * S, 1_609_731_000 * S  # 09:30 and 11:30 in Shanghai
    path = write(
        tmp_path / "a.cap",
        [
            whole(opens - 60 * S), change(opens - 30 * S, (BID, 99, 0)), change(opens + S, (BID, 98, 8)),
            change(noon + 60 * S, (ASK, 101, 0), (BID, 97, 3)), change(noon + 5_400 * S, (ASK, 102, 7)),
        ],
        header=header,
    )  # fmt: skip
    events, findings = told(path)
    assert findings.total() == {"outside_session": 3}
    assert [event.ts_recv for event in events] == [opens + S, noon + 5_400 * S]
    assert book_after(events[:1]) == {(BID, 98): 8, (ASK, 101): 5, (ASK, 102): 9}
    assert book_after(events) == {(BID, 98): 8, (BID, 97): 3, (ASK, 102): 7}
    catalog = Catalog(tmp_path / "data", contracts)
    [recording] = recordings([path])
    [day] = import_recording(catalog, recording, lambda *_: None).days
    assert (day.book_updates, day.drops) == (2, {"outside_session": 3})


def test_segments_join_by_instrument_and_day(tmp_path: Path) -> None:
    eth = replace(HEADER, instrument="ETHUSDT-LINEAR.BYBIT", tick="0.01", lot="0.01")
    next_day = replace(HEADER, date="2025-01-02")
    files = [
        write(tmp_path / name, [whole(T0)], header=header)
        for name, header in (("c", next_day), ("a", HEADER), ("b", eth))
    ]
    assert [[path.name for path in rec.files] for rec in recordings(files)] == [["a"], ["c"], ["b"]]


def test_a_day_in_two_imports_is_that_of_one(tmp_path: Path, contracts: ContractTable) -> None:
    second = replace(HEADER, start_ns=T0 + 60 * S)
    first = write(
        tmp_path / "a.cap",
        [whole(T0), *(change(T0 + i * S, (BID, 99, i % 5 + 1), sequence=i + 1) for i in range(1, 60))],
    )
    key = Key(T0 + 60 * S, S + 1_000_000, [(BID, 99, 5), *BOOK[1:]])
    later = write(
        tmp_path / "b.cap", [key, *(change(T0 + i * S, (BID, 99, i % 5 + 1), sequence=i + 1) for i in range(60, 90))],
        header=second,
    )  # fmt: skip

    def imported(name: str, *batches: list[Path]) -> Catalog:
        catalog = Catalog(tmp_path / name, contracts)
        for batch in batches:
            for recording in recordings(batch):
                import_recording(catalog, recording, lambda *_: None)
        return catalog

    once, twice = imported("once", [first, later]), imported("twice", [first], [later], [first, later])
    [one], [two] = once.days(BTC).values(), twice.days(BTC).values()
    assert (one.book_updates, one.depth) == (90, 50)
    assert len(two.pieces) == 2
    assert (one.start_ns, one.end_ns, one.drops, two.drops) == (two.start_ns, two.end_ns, {}, {})
