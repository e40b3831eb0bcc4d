"""Levels of a whole message are read as each is alone."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from market.contracts import ContractTable
from market.errors import DataError
from market.events import BID, Level
from venues.recordings.loaders.units import Grid

_CONTRACT = ContractTable().by_id("BTCUSDT-PERP.BINANCE", dt.date(2024, 7, 19))
words = st.sampled_from(("0", "0.000", "0.0001", "0.0015", "0.001", "1.0", "1e3", "64000.1", "64000.15", "-1", "9e13"))


@given(st.lists(st.tuples(words, words), max_size=6))
def test_a_message_is_read_as_its_levels(rows: list[tuple[str, str]]) -> None:
    def read(at_once: bool) -> tuple[list[Level] | str, Counter[str]]:
        grid = Grid(_CONTRACT, Counter())
        try:
            for _ in range(2):  # the second time prices are known
                alone = [level for row in rows if (level := grid.level(BID, *row)) is not None]
                found = grid.levels(BID, rows) if at_once else alone
        except DataError as error:
            return str(error), Counter()
        return found, grid.counts

    one, alone = read(at_once=True), read(at_once=False)
    assert one[0] == alone[0]
    assert {name: 2 * count for name, count in alone[1].items()} == one[1]
