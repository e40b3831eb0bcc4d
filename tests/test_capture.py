"""`cmm capture` as a user runs it, against the loopback exchange: breaks, kills, a full disk, a clock that lies."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from engine.cli.main import main
from engine.config import Config, override
from engine.live.capture.imports import DayImports
from engine.progress import SILENT
from engine.recordings.catalog import open_catalog
from engine.recordings.events import BookShown, TradeShown, show_events
from engine.reports.inspection import inspect_instrument
from market.errors import DataError
from market.events import ASK, BID, BookUpdate, Event, Trade
from market.level_book import LevelBook
from tests.captures import HEADER, T0, TABLE, S, change, whole
from tests.captures import write as segment
from venues.live.adapters_config import AdapterConfig
from venues.live.server_clock import best_offset, time_url
from venues.loopback import market
from venues.loopback.bybit import LoopbackBybit
from venues.recordings.capture.segment import segments
from venues.recordings.loaders import LOADERS, recordings
from venues.recordings.loaders.findings import Findings
from venues.recordings.terms import RecordingTerms

BTC = "BTCUSDT-LINEAR.BYBIT"
CONTRACT = TABLE.by_id(BTC)
_HUNG_S = 120.0


class Recorded:
    """An exchange with a market, and captures of it as processes of their own."""

    def __init__(self, home: Path) -> None:
        self.exchange = LoopbackBybit(market.terms_of(CONTRACT), "k", "s", Decimal(1000))
        self.home, self.config = home, override(Config(), {"data.path": str(home / "data")})
        self.feed: asyncio.Task[None] | None = None
        self._started: list[asyncio.subprocess.Process] = []

    async def open(self) -> None:
        await self.exchange.start()
        self.feed = asyncio.create_task(market.feed(self.exchange, market.simulated(3), 3.0))

    async def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
        await self.still()
        await self.exchange.stop()

    async def still(self) -> None:
        """The market stands still."""
        if self.feed is not None:
            self.feed.cancel()
            with suppress(asyncio.CancelledError):
                await self.feed
            self.feed = None

    async def capture(self, *words: str, limit: int | None = None, url: str = "") -> asyncio.subprocess.Process:
        settings = [
            f"adapters.bybit.base_url={url or self.exchange.url}", f"data.path={self.home / 'data'}",
            "capture.flush_s=0.05", "capture.min_free_mb=0", "capture.retry_s=0.5",
        ]  # fmt: skip

        def restrict() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.cli", "capture", "--venue", "bybit", "--instruments", BTC, *words,
            *(part for setting in settings for part in ("--set", setting)), cwd=self.home, preexec_fn=restrict,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def told(self) -> tuple[list[Event], Findings]:
        """What the segments tell, as far as they go."""
        events: list[Event] = []
        findings = Findings()
        with suppress(DataError):  # a segment that has just been opened
            for one in recordings(
                [path for paths in segments(self.home / "data" / "capture").values() for path in paths]
            ):
                events += LOADERS["capture"].events(one, RecordingTerms(TABLE), findings)
        return events, findings

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(_HUNG_S):
            while not holds():
                await asyncio.sleep(0.1)

    async def more(self, events: int = 40) -> None:
        before = len(self.told()[0])
        await self.until(lambda: len(self.told()[0]) >= before + events)

    def gaps(self) -> int:
        return self.told()[1].total()["interrupted"]


def run(home: Path, act: Callable[[Recorded], Any]) -> None:
    async def all_of_it() -> None:
        recorded = Recorded(home)
        await recorded.open()
        try:
            await act(recorded)
        finally:
            await recorded.close()

    asyncio.run(all_of_it())


def shown(exchange: LoopbackBybit) -> dict[tuple[int, int], int]:
    return {(side, price): lots for side in (BID, ASK) for price, lots in exchange.shown(side, 50).items()}


def book_of(events: list[Event]) -> dict[tuple[int, int], int]:
    book = LevelBook()
    for event in events:
        if isinstance(event, BookUpdate):
            book.apply(event)
    return {(side, price): size for side, price, size in book.levels()}


def test_whatever_breaks_is_named_and_the_book_is_the_exchanges(tmp_path: Path) -> None:
    async def act(r: Recorded) -> None:
        killed = await r.capture()
        await r.more()
        r.exchange.faults.skip_public = 2
        await r.until(lambda: r.gaps() == 1)
        await r.more()
        await r.exchange.drop_sockets("public")
        await r.until(lambda: r.gaps() == 2)
        await r.more()
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
        r.exchange.faults.clock_skew_s = -3.0
        ended = await r.capture("--json")
        await r.until(lambda: r.gaps() == 3)
        await r.until(lambda: "the exchange's clock" in " ".join(r.told()[1].take(BTC)[1]))
        await r.more()
        await r.still()
        await r.until(lambda: book_of(r.told()[0]) == shown(r.exchange))
        ended.send_signal(signal.SIGTERM)
        out, err = await ended.communicate()
        assert ended.returncode == 0, err.decode()
        assert b'"breaks":0' in out

        found = inspect_instrument(r.config, BTC)
        reasons = " ".join(found.reasons)
        assert found.verdict in ("care", "unusable")
        assert "the recording was interrupted 3 times" in reasons
        for why in ("messages were lost", "the connection was lost", "the recorder was killed"):
            assert f"s ({why})" in reasons
        assert re.search(r"the exchange's clock was -[23]\.\d", reasons)
        imported = list(show_events(r.config, BTC))
        trades = [event.ts_recv for event in r.told()[0] if isinstance(event, Trade)]
        assert len(trades) == sum(isinstance(event, TradeShown) for event in imported) > 5
        [last] = [event for event in imported if isinstance(event, BookShown)][-1:]
        best = [min, max]
        for side, levels in ((BID, last.bids), (ASK, last.asks)):
            prices = [price for at, price in shown(r.exchange) if at == side]
            assert levels[0][0] == pytest.approx(best[side == BID](prices) * CONTRACT.tick)

    run(tmp_path, act)


def test_a_full_disk_ends_it_with_a_sentence_and_what_was_written_is_whole(tmp_path: Path) -> None:
    async def act(r: Recorded) -> None:
        process = await r.capture(limit=4000)
        async with asyncio.timeout(_HUNG_S):
            _, err = await process.communicate()
        assert process.returncode == 2
        *_, sentence = err.decode().strip().splitlines()
        assert sentence.startswith(
            f"error: recording ended: {tmp_path / 'data' / 'capture'}: File too large; what came until "
        )
        assert sentence.endswith("make room and start again")
        assert "Traceback" not in err.decode()
        events, findings = r.told()
        assert len(events) > 10
        assert not findings.total()
        again = await r.capture("--minutes", "0.01")
        async with asyncio.timeout(_HUNG_S):
            await again.communicate()
        assert again.returncode == 0
        [day] = open_catalog(r.config).days(BTC).values()
        assert day.book_updates > sum(isinstance(event, BookUpdate) for event in events)
        assert day.drops["interrupted"] == 1

    run(tmp_path, act)


def test_what_an_earlier_capture_left_is_imported_while_the_next_one_records(tmp_path: Path) -> None:
    home = tmp_path / "data" / "capture" / BTC / "2025-01-01"
    home.mkdir(parents=True)
    left = segment(home / "a.cap", [whole(T0), change(T0 + S, (BID, 99, 1))])
    left.write_bytes(left.read_bytes() + b"torn")
    (home / "b.cap").write_bytes(b"\0" * 512)  # as a power cut leaves a file that was just made

    async def act(r: Recorded) -> None:
        process = await r.capture()
        await r.until(lambda: bool(open_catalog(r.config).days(BTC)))
        assert process.returncode is None
        [day] = open_catalog(r.config).days(BTC).values()
        assert (str(day.date), day.book_updates, day.drops) == ("2025-01-01", 2, {"torn_frame": 1})
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        assert len(open_catalog(r.config).days(BTC)) == 2

    run(tmp_path, act)


def test_a_venue_out_of_reach_and_terms_that_disagree_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "terms.yaml"
    table.write_text(
        "contracts:\n- {exchange: BYBIT, product: BTCUSDT-LINEAR, kind: perpetual, currency: USDT, base: BTC, tick: 0.5, lot: 0.001}\n"
    )

    async def act(r: Recorded) -> None:
        away, other = await asyncio.gather(
            r.capture(url="http://127.0.0.1:1"),
            r.capture("--set", f"data.contracts=[{table}]", "--set", f"capture.path={tmp_path / 'other'}"),
        )
        async with asyncio.timeout(_HUNG_S):
            said = [(await process.communicate())[1].decode().strip().splitlines()[-1] for process in (away, other)]
        assert [away.returncode, other.returncode] == [2, 2]
        assert said[0] == "error: bybit: no connection; nothing was recorded"
        assert said[1].startswith(
            f"error: {BTC}: the venue counts in ticks of 0.1 and lots of 0.001, the contract table in 0.5"
        )
        assert not segments(tmp_path / "data" / "capture")

    run(tmp_path, act)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--venue", "nyse", "--instruments", BTC], "--venue nyse: no adapter; known are binance, bybit, okx"),
        (["--venue", "bybit,okx", "--instruments", BTC], "--venue okx: no instrument of it is named"),
        (["--venue", "bybit", "--instruments", f"{BTC},BTC-USDT-SWAP.OKX"], "--venue does not name its venue"),
        (["--venue", "bybit", "--instruments", "X-LINEAR.BYBIT"], "the contract table has no terms for it"),
        (["--venue", "bybit", "--instruments", BTC, "--set", "capture.min_free_mb=1e12"], "are left on the disk"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["capture", *words, "--set", f"data.path={tmp_path / 'data'}"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not list(tmp_path.rglob("*.cap"))


def test_days_that_are_over_are_imported_by_a_process_of_its_own(tmp_path: Path) -> None:
    folder, said = tmp_path / "capture", list[str]()
    config = override(Config(), {"data.path": str(tmp_path / "data")})
    paths = []
    for day in range(3):
        start = T0 + day * 86_400 * S
        home = folder / BTC / f"2025-01-0{day + 1}"
        home.mkdir(parents=True)
        header = replace(HEADER, date=home.name, start_ns=start)
        paths.append(segment(home / "a.cap", [whole(start), change(start + S, (BID, 99, 1))], header=header))
    imports = DayImports(config, folder, said.append)
    catalog = open_catalog(config)
    with catalog.lock():  # somebody else imports: it is tried again
        imports.look({paths[2].parent})
        imports.wait()
    assert not catalog.instruments()
    for _ in range(3):
        imports.look({paths[2].parent})
        imports.wait()
    assert [str(date) for date in catalog.days(BTC)] == ["2025-01-01", "2025-01-02"]
    assert len(said) == 2
    done = imports.finish(SILENT)
    assert done is not None
    assert [str(day.date) for one in done.done for day in one.days] == ["2025-01-03"]
    assert imports.finish(SILENT) is None


def test_the_clock_that_counts_is_that_of_the_quickest_answer() -> None:
    assert best_offset([(0.0, 9.0, 2.0), (10.0, 13.05, 10.1), (20.0, 21.0, 21.0)]) == pytest.approx((3.0, 0.1))


@pytest.mark.parametrize(
    ("venue", "instrument", "url"),
    [
        ("bybit", BTC, "https://api-testnet.bybit.com/v5/market/time"),
        ("binance", "BTCUSDT-PERP.BINANCE", "https://testnet.binancefuture.com/fapi/v1/time"),
        ("binance", "BTCUSDT.BINANCE", "https://testnet.binance.vision/api/v3/time"),
        ("okx", "BTC-USDT-SWAP.OKX", "https://www.okx.com/api/v5/public/time"),
        ("kraken", "X.KRAKEN", None),
    ],
)
def test_each_venue_is_asked_where_it_shows_its_clock(venue: str, instrument: str, url: str | None) -> None:
    assert time_url(venue, AdapterConfig(), instrument) == url
