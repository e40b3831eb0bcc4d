"""NASDAQ TotalView-ITCH 5.0."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.contracts import ContractTable
from market.errors import DataError
from tests.dirty import books, cmm, imported, last, refused, trades
from tests.itch import (
    OPEN,
    S,
    add,
    cancel,
    cross,
    delete,
    directory,
    execute,
    execute_at,
    framed,
    hidden,
    message,
    replace,
    system,
)
from venues.recordings.loaders import LOADERS, Recording
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

AAPL = "AAPL.NASDAQ"
DAY = "01302019.NASDAQ_ITCH50"
START = 1_548_858_600_000_000_000  # 30 January 2019, 09:30 in New York
TWO = (directory("AAPL"), add(OPEN - S, 1, "B", 100, 1_650_000), add(OPEN - S, 2, "S", 200, 1_650_300))
"""A bid of 100 at 165.00 and an offer of 200 at 165.03, before the open."""
END = system("C", OPEN + 40_000 * S)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def day(*messages: bytes, name: str = DAY) -> Path:
    path = Path(name)
    data = framed(system("O", 0), *messages)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_orders_are_added_executed_cancelled_replaced_and_deleted() -> None:
    path = day(
        *TWO,
        add(OPEN, 3, "B", 50, 1_650_100),
        execute(OPEN + 1, 3, 20, 900),
        cancel(OPEN + 2, 2, 50),
        replace(OPEN + 3, 2, 4, 70, 1_650_200),
        delete(OPEN + 4, 1),
        END,
    )
    assert imported(path) == {}
    assert trades(AAPL) == [(165.01, 20, "sell")]
    shown = books(AAPL)
    assert [book for ts, *book in shown if ts >= START] == [
        [[[165.01, 50.0], [165.0, 100.0]], [[165.03, 200.0]]],
        [[[165.01, 30.0], [165.0, 100.0]], [[165.03, 200.0]]],
        [[[165.01, 30.0], [165.0, 100.0]], [[165.03, 150.0]]],
        [[[165.01, 30.0], [165.0, 100.0]], [[165.02, 70.0]]],
        [[[165.01, 30.0]], [[165.02, 70.0]]],
    ]
    assert shown[-1][0] == START + 5  # a trade and its change are one moment, told in two


def test_what_prints_elsewhere_or_says_nothing_is_no_trade() -> None:
    path = day(
        *TWO,
        cross(OPEN, 500, 1_650_000, 901),
        execute_at(OPEN, 1, 30, 902, 1_650_000, printable="N"),
        execute_at(OPEN + 1, 1, 30, 903, 1_649_900),
        hidden(OPEN + 2, 10, 1_650_200, 904),
        hidden(OPEN + 3, 10, 1_650_150, 905),  # at the midpoint
        message("B", OPEN + 4, (904).to_bytes(8, "big")),
        END,
    )
    assert imported(path) == {"auction_trade": 2, "off_tick_hidden_execution": 1, "broken_trade": 1}
    assert trades(AAPL) == [(164.99, 30, "sell"), (165.02, 10, "none")]
    assert last(AAPL) == ([[165.0, 40.0]], [[165.03, 200.0]])


def test_a_record_counts_once_and_an_unknown_order_is_counted() -> None:
    twice = execute(OPEN, 1, 10, 910)
    path = day(*TWO, twice, twice, TWO[1], delete(OPEN + 1, 77), cancel(OPEN + 2, 2, 900), END)
    assert imported(path) == {
        "duplicate_trade": 1, "duplicate_order": 1, "unknown_order": 1, "more_than_rested": 1,
    }  # fmt: skip
    assert last(AAPL) == ([[165.0, 90.0]], [])


def test_an_order_off_the_tick_is_left_out_and_comes_back_when_it_is_replaced() -> None:
    path = day(*TWO, add(OPEN, 3, "B", 10, 1_650_055), replace(OPEN + 1, 3, 4, 10, 1_650_100), END)
    assert imported(path) == {"off_tick": 1}
    assert last(AAPL) == ([[165.01, 10.0], [165.0, 100.0]], [[165.03, 200.0]])


def test_a_replaced_order_that_goes_off_the_tick_is_gone() -> None:
    path = day(*TWO, add(OPEN, 3, "B", 10, 1_650_100), replace(OPEN + 1, 3, 4, 10, 1_650_155), END)
    assert imported(path) == {"off_tick": 1}
    assert last(AAPL) == ([[165.0, 100.0]], [[165.03, 200.0]])


def test_the_day_ends_with_its_session() -> None:
    close = 16 * 3_600 * S
    path = day(*TWO, delete(close + 1, 1), execute(close + 2, 2, 1, 920), END)
    assert imported(path) == {"outside_session": 2}
    assert last(AAPL) == ([[165.0, 100.0]], [[165.03, 200.0]])


def test_stocks_are_chosen_and_another_choice_is_another_recording() -> None:
    others = [directory(f"ZZ{i}", 10 + i) for i in range(30)]
    path = day(
        *TWO, directory("MSFT", 2), add(OPEN, 9, "B", 7, 1_000_000, "MSFT", 2), *others, END, name="S013019-v50.txt.gz"
    )
    refused(cmm("import", path), "more than 20 stocks", "--instruments")
    assert cmm("import", path, "--symbols", "AAPL").exit_code == 0
    assert cmm("import", path, "--instruments", "MSFT.NASDAQ").exit_code == 0
    assert last(AAPL)[0] == [[165.0, 100.0]]
    assert last("MSFT.NASDAQ") == ([[100.0, 7.0]], [])
    refused(cmm("import", path, "--symbols", "AAPL,AAPX"), "no stock AAPX")


def test_what_is_missing_is_said() -> None:
    result = cmm("import", day(*TWO, add(OPEN, 3, "B", 1, 1_650_000)))
    assert "cut off" in result.output
    refused(cmm("import", day(*TWO, END, name="itch.bin")), "its name holds none")
    refused(cmm("import", day(*TWO, END, name="20190130.BX_ITCH_50")), "no contract terms for AAPL on BX")
    whole = day(*TWO, END).read_bytes()
    Path(DAY).write_bytes(whole[:-5])
    refused(cmm("import", DAY), "ends within a message")
    Path(DAY).write_bytes(whole[:-14] + b"\x00\x0dSxxxxxxxxxxxx")
    refused(cmm("import", DAY), "not a sound ITCH 5.0 file at byte")


def test_messages_are_found_across_the_pieces_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venues.recordings.loaders.itch_file._CHUNK", 17)
    imported(day(*TWO, execute(OPEN, 1, 10, 910), END))
    assert last(AAPL) == ([[165.0, 90.0]], [[165.03, 200.0]])


@settings(max_examples=40)
@given(place=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 60))
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int
) -> None:
    data = bytearray(framed(system("O", 0), *TWO, execute(OPEN, 1, 9, 1), replace(OPEN + 1, 2, 5, 5, 1_650_200), END))
    data[place % len(data)] = byte
    path = tmp_path_factory.mktemp("itch") / DAY
    path.write_bytes(bytes(data[: len(data) - cut]))
    try:
        list(LOADERS["itch"].events(Recording("itch", (path,)), RecordingTerms(ContractTable()), Findings()))
    except DataError as error:
        assert str(path.name) in str(error) or "NASDAQ" in str(error)
