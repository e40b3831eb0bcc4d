"""The monitor: frames that never hold a trader up, a page that tells and halts, and nobody who may not."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect, sync_playwright

from engine.config import SHIPPED, Config, MonitorConfig, RunsConfig
from engine.drill import campaign as drill
from engine.drill.attempt import KEY, SECRET
from engine.live.deployment.deployment import ModelReference, Trial
from engine.live.records.journal import verify
from engine.live.telemetry import About, ForecastOutcome, Frame, Publisher, halt_file, meeting_place
from engine.live.trading.paper_run import Paper, replay_day
from engine.monitor import metrics, stop
from engine.monitor.archive import Archive
from engine.monitor.hub import Hub, sweep
from engine.monitor.server import Monitor, serve
from engine.monitor.watched import Watched
from engine.plan import Plan
from market.errors import ConfigError
from market.events import ASK, BID
from models.ensemble.drift import Comparison, Paired
from tests.replays import Standstill
from tests.traders import HUNG_S, PatientTry
from venues.recordings.catalog import Catalog, Day
from venues.simulation.queues import QueueConfig

_TOKEN = "a-token-that-nobody-guesses"
_CHROMIUM = next(
    (found for name in (os.environ.get("CMM_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
     if name and (found := shutil.which(name))), None,
)  # fmt: skip
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def config(folder: Path, **monitor: Any) -> Config:
    at = folder / "sockets"
    at.mkdir(mode=0o700, exist_ok=True)
    made = MonitorConfig(path=str(at), **monitor)
    return msgspec.structs.replace(Config(), monitor=made, runs=RunsConfig(path=str(folder / "runs")))


def frame(seq: int = 1, **more: Any) -> Frame:
    about = About(
        instrument="QR.SIM", mode="paper", pid=os.getpid(), started_ns=1, quoter="cmm", artifact=None,
        artifact_hash=None, horizon_s=5.0, currency="USD", tick="1", lot="1", max_position_lots=10,
    )  # fmt: skip
    return Frame(about=about, seq=seq, ts_ns=seq * 10**9, phase="trading", **more)


TRIAL = Trial(
    trading=ModelReference("/old", "old"), shadow=ModelReference("/new", "new"), since_ns=0, until_ns=1, forecasts=400, failed=0,
    in_sample=False,
    mid=Comparison(outcomes=400, blocks=40, rmse=1.1, rmse_other=1.0, z=2.5), spread=Comparison(),
)  # fmt: skip

# ── frames ────────────────────────────────────────────────────────────────────────────────────


def test_nobody_listening_costs_nothing_and_nobody_slow_is_waited_for(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    assert not publisher.has_listeners()
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(tmp_path / "1-deaf.sock"))
    gone = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    gone.bind(str(tmp_path / "1-gone.sock"))
    gone.close()
    publisher._looked = float("-inf")
    assert publisher.has_listeners()
    for _ in range(2000):
        publisher.send(b"x" * 10_000)  # one that waited would wait for ever
    assert publisher.dropped >= 2000  # the dead one each time, the deaf one once its queue was full
    assert deaf.recv(20_000) == b"x" * 10_000
    deaf.close()
    publisher.close()


def test_sockets_of_dead_monitors_are_swept(tmp_path: Path) -> None:
    (tmp_path / "999999999-a.sock").touch()
    (tmp_path / f"{os.getpid()}-b.sock").touch()
    sweep(tmp_path)
    assert [p.name for p in tmp_path.glob("*.sock")] == [f"{os.getpid()}-b.sock"]


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(ConfigError, match=r"others could write there; set monitor\.path"):
        meeting_place(msgspec.structs.replace(Config(), monitor=MonitorConfig(path=str(open_to_all))))


def test_what_is_shown_is_what_was_traded(
    brief: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watched or not, the run is the same; the last frame's money adds up and equals the venue's."""
    plan = Plan(config(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    alone = replay_day(
        *brief, msgspec.structs.replace(plan, config=Config(monitor=MonitorConfig(enabled=False))), 0.0, None
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "sockets" / "1-test.sock"))
    heard: list[Frame] = []
    decoder = msgspec.json.Decoder(Frame)

    def drain() -> bool:
        with suppress(BlockingIOError):
            while True:
                heard.append(decoder.decode(listener.recv(1 << 20, socket.MSG_DONTWAIT)))
        return False

    settled = Paper.is_settled
    monkeypatch.setattr(Paper, "is_settled", lambda paper: drain() or settled(paper))  # with each event: none is lost
    watched = replay_day(*brief, plan, 0.0, tmp_path / "journal.jsonl")
    drain()
    listener.close()
    assert watched.recorder.fills == alone.recorder.fills
    assert watched.recorder.actions == alone.recorder.actions
    assert verify(tmp_path / "journal.jsonl").differences == []
    last = heard[-1]
    seen = [f.seq for f in heard]
    assert seen == sorted(set(seen))  # each once and in order; what a slow listener does not take is not sent again
    assert (last.phase, last.about.instrument, last.counts["fills"]) == ("stopped", "QR.SIM", len(alone.recorder.fills))
    pnl = last.pnl
    assert pnl.total == pytest.approx(pnl.captured + pnl.inventory - pnl.fees)
    assert pnl.total == pytest.approx(alone.venue_net, abs=0.01 * len(alone.recorder.fills))
    assert pnl.fees == pytest.approx(sum(f.commission for f in alone.recorder.fills))
    with_students = [f for f in heard if f.closeness]
    assert with_students
    for one in with_students:
        assert len(one.closeness) == 3
        assert all(0.0 < c <= 1.0 for task in one.closeness for c in task)
        assert len(one.closeness[0]) == len(one.about.students)
    times = watched.recorder.ts_ns
    for outcome in [o for f in heard for o in f.outcomes][:50]:  # each was made before it came due, not after
        assert outcome.due_ns - outcome.ts_ns >= 5 * 10**9
        then, due = (int((times <= t).sum()) - 1 for t in (outcome.ts_ns, outcome.due_ns))
        assert outcome.happened == pytest.approx(watched.recorder.mids[due] - watched.recorder.mids[then])


def test_page_and_model_manager_hold_the_same_forecasts_against_the_same_outcomes(
    sim: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rule of sampling and of what came, one formula: no two correlations of one model."""
    compared: list[tuple[int, float, float]] = []
    add = Paired.add

    def note(pair: Paired, ts_ns: int, forecast: float, other: float, happened: float) -> None:
        compared.append((ts_ns, forecast, happened))
        add(pair, ts_ns, forecast, other, happened)

    monkeypatch.setattr(Paired, "add", note)
    plan = Plan(config(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    sent: list[bytes] = []
    monkeypatch.setattr(Publisher, "has_listeners", lambda _: True)
    monkeypatch.setattr(Publisher, "send", lambda _, message: sent.append(message))
    replay_day(*sim, plan, 0.0, tmp_path / "journal.jsonl")
    shown = [msgspec.json.decode(message, type=Frame) for message in sent]
    outcomes = [outcome for one in shown for outcome in one.outcomes]
    assert len(outcomes) > 100
    assert [(o.ts_ns, o.forecast, o.happened) for o in outcomes] == compared
    watched = Watched(shown[0])
    pair = Paired(1, len(compared) + 1)
    for one in shown:
        watched.take(one)
    for ts_ns, forecast, happened in [*compared, (compared[-1][0] + 1, 0.0, 0.0)]:  # the last block stays open
        add(pair, ts_ns, forecast, 0.0, happened)
    assert watched.skill()["correlation"] == pytest.approx(pair.compare().correlation, abs=1e-4)


def test_a_paper_trader_stops_quoting_when_asked(
    brief: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(config(tmp_path, every_ms=50), "cmm", SHIPPED, None, QueueConfig(model="power"))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "sockets" / "1-test.sock"))
    (tmp_path / "sockets" / "halt-1").touch()  # another one's
    asked: list[Path] = []
    still = Standstill(monkeypatch)

    def is_halted() -> bool:
        try:
            heard = msgspec.json.decode(listener.recv(1 << 20, socket.MSG_DONTWAIT), type=Frame)
        except BlockingIOError:
            return False
        if not asked:
            asked.append(tmp_path / "sockets" / halt_file(heard.about))
            asked[0].touch()
        return bool(heard.halted)

    def ask(_: dt.date, share: float) -> None:
        if share > 0.5 and not asked:
            still.until = is_halted

    episode = replay_day(*brief, plan, 0.0, None, ask)
    listener.close()
    assert episode.recorder.halted == ["operator"]
    assert episode.counts["halted_operator"] == 1
    assert not asked[0].exists()


def test_what_goes_wrong_with_frames_ends_them_and_not_the_trading(
    brief: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no frame today")

    plan = Plan(config(tmp_path, every_ms=50), "cmm", SHIPPED, None, QueueConfig(model="power"))
    (tmp_path / "sockets" / "1-test.sock").touch()
    monkeypatch.setattr("engine.live.telemetry.Telemetry.frame", broken)
    episode = replay_day(*brief, plan, 0.0, None)
    assert len(episode.recorder.fills) > 10
    assert capsys.readouterr().err.count("telemetry has ended: RuntimeError: no frame today") == 1


# ── what the monitor makes of them ────────────────────────────────────────────────────────────


def test_status_tells_dead_from_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(frame())
    watched.take(frame(2, orders=[(1, 100, 1, 1)]))
    assert watched.status == "trading"
    watched.take(frame(5, halted="loss_budget"))
    assert (watched.status, watched.why, watched.lost) == ("halted", "loss_budget", 2)
    watched.heard -= 2.0
    assert watched.status == "silent"
    watched.take(frame(6))
    monkeypatch.setattr("engine.monitor.watched.is_alive", lambda _: False)
    watched.heard -= 0.8  # a few frames missed: known before a second has passed
    assert watched.status == "dead"
    watched.frame = msgspec.structs.replace(watched.frame, phase="stopped")
    assert watched.status == "stopped"


def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    hub = Hub(meeting_place(config(tmp_path)))
    hub.take(frame())
    hub.take(frame(2, decision_ns=[40_000, 60_000, 10**9], counts={"action_place": 3, "bound_position": 2, "fills": 1}))
    lines = metrics.render(hub).decode().splitlines()
    who = 'instrument="QR.SIM",mode="paper"'
    assert f"cmm_up{{{who}}} 1.0" in lines
    assert (
        f"cmm_order_actions_total{{{who.replace(',mode', ',kind=' + chr(34) + 'place' + chr(34) + ',mode')}}} 3.0"
        in lines
    )
    assert 'cmm_decision_seconds_bucket{instrument="QR.SIM",le="5e-05",mode="paper"} 1.0' in lines
    assert 'cmm_decision_seconds_bucket{instrument="QR.SIM",le="+Inf",mode="paper"} 3.0' in lines
    assert f"cmm_decision_seconds_count{{{who}}} 3.0" in lines
    hub._socket.close()


def test_the_dashboard_asks_for_metrics_that_exist(tmp_path: Path) -> None:
    hub = Hub(meeting_place(config(tmp_path)))
    hub.take(frame(
        2, counts={"action_place": 3, "bound_position": 2, "fills": 1}, fills=[(1, 1, 100, 1)], trial=TRIAL
    ))  # fmt: skip
    hub.traders[frame().about.key].alarm_counts["halt"] = 1
    text = metrics.render(hub).decode()
    dashboard = json.loads((Path(__file__).parent.parent / "deploy" / "grafana-dashboard.json").read_text())
    asked = {w for panel in dashboard["panels"] for target in panel.get("targets", []) for w in _names(target["expr"])}
    assert asked
    assert {name for name in asked if f"\n{name}{{" not in text} == set()
    hub._socket.close()


def test_drift_and_shadow_are_shown_and_counted(tmp_path: Path) -> None:
    hub = Hub(meeting_place(config(tmp_path)))
    hub.take(frame(2, trial=TRIAL, drifts={"feature_drift": "3 features"}))
    text = metrics.render(hub).decode()
    who = 'instrument="QR.SIM"'
    assert f'cmm_model_drift{{{who},kind="feature_drift",mode="paper"}} 1.0' in text
    assert f'cmm_model_drift{{{who},kind="calibration_drift",mode="paper"}} 0.0' in text
    assert f'cmm_shadow_outcomes{{artifact_hash="new",{who},mode="paper"}} 400.0' in text
    view = msgspec.json.decode(msgspec.json.encode(hub.traders[frame().about.key].view()))
    assert (view["trial"]["verdict"], view["trial"]["mid"]["z"]) == ("worse", 2.5)
    assert view["drifts"] == {"feature_drift": "3 features"}
    hub._socket.close()


def test_another_artifact_begins_with_no_outcomes() -> None:
    watched = Watched(frame(outcomes=[ForecastOutcome(1, 2, 100.0, 0.5, 1.0)]))
    watched.take(frame(2, outcomes=[ForecastOutcome(1, 2, 100.0, 0.5, 1.0)]))
    later = frame(3)
    watched.take(msgspec.structs.replace(later, about=msgspec.structs.replace(later.about, artifact_hash="new")))
    assert (list(watched.outcomes), watched.about.artifact_hash) == ([], "new")


def _names(expression: str) -> set[str]:
    return set(re.findall(r"\bcmm_[a-z_]+", expression))


def test_a_journal_keeps_its_id_when_its_run_ends(brief: tuple[Catalog, Day], tmp_path: Path) -> None:
    running = tmp_path / "runs" / ".1-paper-a.tmp"
    replay_day(
        *brief, Plan(config(tmp_path), "foic", None, None, QueueConfig(model="power")), 0.0, running / "journal.jsonl"
    )
    (running / "run.json").write_text('{"command": "paper"}')
    archive = Archive(tmp_path / "runs")
    (before,) = archive.list_journals([])
    opened = archive.journal(before["id"], [])
    assert opened is not None
    running.rename(tmp_path / "runs" / "1-paper-a")
    (after,) = archive.list_journals([])
    assert after["id"] == before["id"]
    assert archive.journal(before["id"], []) is not None


def test_a_journal_is_read_in_pages(brief: tuple[Catalog, Day], tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one" / "journal.jsonl"
    plan = Plan(config(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    replay_day(*brief, plan, 0.0, path)
    (path.parent / "run.json").write_text('{"command": "paper"}')
    archive = Archive(tmp_path / "runs")
    key = archive.list_runs()[0]["journals"][0]
    index = archive.journal(key, [])
    assert index is not None
    total = index.grow()
    assert total == len(path.read_bytes().splitlines()) - 1
    rows = index.lines(total - 3, 10)
    assert [row["i"] for row in rows] == [total - 3, total - 2, total - 1]
    middle = index.lines(total // 2, 1)[0]
    assert index.find(int(middle["ts_ms"]) * 1_000_000) <= middle["i"]
    with path.open("ab") as handle:  # a torn last line is not shown, and shown once whole
        handle.write(b'[1,"')
    assert index.grow() == total
    assert archive.journal("nonsense", []) is None


# ── who may do what ───────────────────────────────────────────────────────────────────────────


class Served:
    """A monitor on a port of its own, in this loop."""

    def __init__(self, made: Config, token: str | None) -> None:
        self.monitor = Monitor(made, token)
        self.url = ""

    async def __aenter__(self) -> Served:
        self.runner = web.AppRunner(self.monitor.app, access_log=None, shutdown_timeout=0.2)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


def test_only_the_page_can_halt_and_only_when_confirmed(tmp_path: Path) -> None:
    async def work() -> None:
        async with Served(config(tmp_path), None) as served, aiohttp.ClientSession() as session:
            served.monitor.hub.take(frame(orders=[(1, 100, 1, 1)]))
            body = {"key": frame().about.key, "confirm": "QR.SIM", "reason": "x"}
            page = await (await session.get(served.url)).text()
            key = page.partition('name="page-key" content="')[2].partition('"')[0]
            asked = tmp_path / "sockets" / halt_file(frame().about)

            async def post(data: Any = None, **headers: str) -> int:
                async with session.post(served.url + "/api/halt", json=data or body, headers=headers) as answer:
                    return answer.status

            assert await post() == 403
            assert await post(**{"X-CMM-Page": "guess"}) == 403
            assert await post(**{"X-CMM-Page": key, "Sec-Fetch-Site": "cross-site"}) == 403
            assert await post(**{"X-CMM-Page": key, "Host": "evil.example"}) == 421
            assert await post({**body, "confirm": "OTHER"}, **{"X-CMM-Page": key}) == 400
            assert await post({**body, "key": "nobody"}, **{"X-CMM-Page": key}) == 404
            assert not asked.exists()
            halting = asyncio.create_task(post(**{"X-CMM-Page": key}))
            async with asyncio.timeout(HUNG_S):
                while not asked.exists():
                    await asyncio.sleep(0.01)
            served.monitor.hub.take(frame(2, halted="operator"))
            assert await halting == 200

    asyncio.run(work())


def test_reading_needs_the_token_and_the_right_host(tmp_path: Path) -> None:
    async def work() -> None:
        async with Served(config(tmp_path, hosts=["trading.example"]), _TOKEN) as served:
            async with aiohttp.ClientSession() as session:
                for path in ("/api/look", "/api/stream", "/api/runs", "/api/journals", "/metrics", "/static/plotly.js"):
                    async with session.get(served.url + path) as answer:
                        assert answer.status == 401, path
                async with session.get(served.url, allow_redirects=False) as answer:
                    assert (answer.status, answer.headers["Location"]) == (303, "/login")
                for scheme, given_, status in (
                    ("Bearer", _TOKEN, 200),
                    ("Bearer", _TOKEN[:-1], 401),
                    ("Basic", _TOKEN, 401),
                ):
                    async with session.get(
                        served.url + "/metrics", headers={"Authorization": f"{scheme} {given_}"}
                    ) as answer:
                        assert answer.status == status
                async with session.post(served.url + "/login", data={"token": "wrong"}) as answer:
                    assert answer.status == 401
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                async with session.post(served.url + "/login", data={"token": _TOKEN}, allow_redirects=False) as answer:
                    cookie = answer.headers["Set-Cookie"]
                    assert (answer.status, "HttpOnly" in cookie, "SameSite=Strict" in cookie) == (303, True, True)
                    assert _TOKEN not in cookie
                async with session.get(served.url + "/api/look") as answer:
                    assert answer.status == 200
                    for name in (
                        "Content-Security-Policy",
                        "X-Content-Type-Options",
                        "X-Frame-Options",
                        "Referrer-Policy",
                    ):
                        assert name in answer.headers
                    assert "Access-Control-Allow-Origin" not in answer.headers
                for host, status in (("trading.example", 200), ("evil.example", 421)):  # rebinding
                    async with session.get(
                        served.url + "/api/look", headers={"Host": host, "Cookie": cookie.partition(";")[0]}
                    ) as answer:
                        assert answer.status == status
                async with session.get(served.url + "/api/look", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
                    assert answer.status == 403

    asyncio.run(work())


def test_beyond_this_machine_only_with_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set CMM_MONITOR_TOKEN"):
        serve(config(tmp_path, host="0.0.0.0"), None, print)
    with pytest.raises(ConfigError, match="at least 16 characters"):
        serve(config(tmp_path), "short", print)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """A monitor in a thread: its port and its page's key."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = Served(config(tmp_path_factory.mktemp("fuzzed")), None)
    asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result()
    served.monitor.hub.take(frame())
    yield int(served.url.rpartition(":")[2]), served.monitor.page_key
    asyncio.run_coroutine_threadsafe(served.__aexit__(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


_ROUTES = [
    "/", "/login", "/api/look", "/api/history", "/api/runs", "/api/journals", "/api/journal", "/api/halt", "/metrics",
    "/static/x", "/static/..%2f..%2fserver.py", "/runs/a/report.html", "/runs/..%2f..%2fetc/passwd", "/healthz", "/%00",
]  # fmt: skip


@settings(max_examples=300)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]),
    route=st.sampled_from(_ROUTES),
    query=st.dictionaries(
        st.sampled_from(["key", "id", "start", "count", "at_ms", "token"]), st.text(max_size=20), max_size=3
    ),
    body=st.one_of(
        st.binary(max_size=60),
        st.just(b"x" * 5000),
        st.just(b'{"key": 1}'),
        st.just(b'{"key":"","confirm":"","reason":""}'),
    ),
    kind=st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"]
    ),
    odd=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
)
def test_nothing_that_is_sent_makes_it_fail(
    address: tuple[int, str], method: str, route: str, query: dict[str, str], body: bytes, kind: str, odd: str
) -> None:
    """Methods, queries, headers and bodies at random: never a 5xx (but /readyz says 503 by design)."""
    port, key = address
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=HUNG_S)
    headers = {"Content-Type": kind, "X-CMM-Page": key, "Cookie": f"cmm_monitor={odd}", "Authorization": odd}
    line.request(method, f"{route}?{urllib.parse.urlencode(query)}", body, headers)
    answer = line.getresponse()
    answer.read()
    line.close()
    assert answer.status < 500


# ── a live trader ─────────────────────────────────────────────────────────────────────────────


class Attempt:
    """A live trader, and the hub of a monitor that hears it."""

    def __init__(self, folder: Path, quick: Path, quick_hash: str) -> None:
        base = config(folder)
        self.t = PatientTry(folder / "try", 7, quick, quick_hash, base)
        self.hub = Hub(meeting_place(base))

    async def begin(self) -> Watched:
        await self.hub.start()
        await self.t.open()
        await self.t.start()
        traders = self.hub.traders
        assert await self.t.until(lambda: any(w.status == "trading" for w in traders.values()), HUNG_S), self.t.tail()
        (watched,) = traders.values()
        assert watched.about.mode == "live"
        return watched

    async def halt(self, watched: Watched, who: str) -> None:
        done = await stop.halt(self.hub.folder, watched, "a test")
        assert (done.resting, done.ended) == (0, True), done
        assert done.by == f"the venue, asked by the {who}"
        engine = self.t.exchange.engine
        assert engine.resting(BID) == engine.resting(ASK) == 0
        if who != "watchdog":
            assert await self.t.until(lambda: watched.status == "stopped", HUNG_S)
            assert watched.frame.resting == 0
        watched.read_alarms()
        assert ("safe" if who == "watchdog" else "halt") in watched.alarm_counts
        latch = watched.latched()
        assert latch is not None
        assert latch["reason"] == "operator"
        assert SECRET.encode() not in self.hub.look()

    async def end(self) -> None:
        await self.t.close()
        await self.hub.stop()


def test_halting_a_live_trader_ends_with_nothing_resting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the venue's keys in the monitor, and a dead one; its page holds no secret."""
    quick = tmp_path / "artifact"
    quick_hash = drill.quick_artifact(quick)

    async def work() -> None:
        attempts = []
        for name in ("without-keys", "dead", "with-keys"):
            (tmp_path / name).mkdir()
            attempts.append(Attempt(tmp_path / name, quick, quick_hash))
        one, dead, other = attempts
        try:
            watched = await asyncio.gather(*(attempt.begin() for attempt in attempts))
            await one.halt(watched[0], "trader")
            assert dead.t.trader is not None
            dead.t.trader.kill()
            await dead.t.trader.wait()
            await dead.halt(watched[1], "watchdog")
            monkeypatch.setenv("CMM_BYBIT_KEY", KEY)
            monkeypatch.setenv("CMM_BYBIT_SECRET", SECRET)
            await other.halt(watched[2], "monitor")
        finally:
            for attempt in attempts:
                await attempt.end()

    asyncio.run(work())


# ── in a browser ──────────────────────────────────────────────────────────────────────────────


class Processes:
    """`cmm monitor` and `cmm paper` as a user starts them."""

    def __init__(self, folder: Path, data: Path) -> None:
        (folder / "sockets").mkdir(mode=0o700)
        drill.quick_artifact(folder / "artifact")
        self.folder = folder
        self._set = [
            f"--set={key}={value}"
            for key, value in (
                ("monitor.path", folder / "sockets"),
                ("data.path", data),
                ("runs.path", folder / "runs"),
                ("model.artifact", folder / "artifact"),
            )
        ]
        self.started: list[subprocess.Popen[bytes]] = []
        self.monitor = self._start("monitor", "--port", "0")
        deadline = time.monotonic() + HUNG_S
        log = folder / "monitor-0.log"
        while b"monitor at" not in log.read_bytes():
            assert self.monitor.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        self.url = log.read_text().partition("monitor at ")[2].split()[0]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        path = self.folder / f"{words[0]}-{len(self.started)}.log"
        with path.open("wb") as log:
            command = [sys.executable, "-m", "engine.cli", *words, *self._set]
            self.started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))
        return self.started[-1]

    def paper(self) -> subprocess.Popen[bytes]:
        """Eight minutes of market in four: longer than a page is looked at, however slow the machine."""
        return self._start("paper", "--replay", "QR.SIM", "--speed", "2")

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert _CHROMIUM is not None, "no Chromium: scripts/browser.sh installs one"
    expect.set_options(timeout=1e3 * HUNG_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS, timeout=1e3 * HUNG_S)
        yield browser
        browser.close()


@pytest.fixture
def processes(sim: tuple[Catalog, Day], tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path, sim[0].root)
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(sim: tuple[Catalog, Day], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A monitor and a trader for all who only look."""
    made = Processes(tmp_path_factory.mktemp("running"), sim[0].root)
    made.paper()
    yield made
    made.close()


def _page(browser: Browser, url: str, width: int, height: int, scheme: Any) -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(1e3 * HUNG_S)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(url)
    return page, errors


def test_in_a_browser_it_tells_halts_and_survives_a_restart(browser: Browser, processes: Processes) -> None:
    page, errors = _page(browser, processes.url, 1400, 900, "light")
    expect(page.locator("#none")).to_be_visible()
    trader = processes.paper()
    expect(page.locator("#status")).to_have_text("trading")
    expect(page.locator("#book .own").first).to_be_visible()
    expect(page.locator("#c-price .main-svg").first).to_be_visible()
    assert page.locator("#students tbody tr").count() == 9
    shown = page.inner_text("#about")
    expect(page.locator("#about")).not_to_have_text(shown)  # the market's time goes on

    trader.send_signal(signal.SIGKILL)
    trader.wait()
    expect(page.locator("#banner")).to_contain_text("the trader has died")

    processes.paper()
    expect(page.locator("#status")).to_have_text("trading")
    expect(page.locator("#banner")).to_be_hidden()
    page.keyboard.press("Tab")  # the skip link comes first
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#halt").focus()
    page.keyboard.press("Enter")
    page.locator("#ask-no").click()
    expect(page.locator("#status")).to_have_text("trading")  # asked, and not halted
    page.locator("#halt").click()
    page.locator("#ask-reason").fill("a test")
    page.locator("#ask-yes").click()
    expect(page.locator("#ask-yes")).to_have_text("Yes, halt QR.SIM now")
    expect(page.locator("#status")).to_have_text("trading")  # asked once, and not halted
    expect(page.locator("#about")).to_contain_text(re.compile("market time 2020-03-02 09:00:(0[5-9]|[1-5])"))
    page.locator("#ask-yes").click()
    expect(page.locator("#ask-result")).to_contain_text("0 orders rest")
    page.locator("#ask-no").click()
    expect(page.locator("#status")).to_have_text("halted: operator")
    expect(page.locator("#book .own")).to_have_count(0)

    page.locator("nav button[data-view=journal]").click()
    expect(page.locator("#j-title")).to_contain_text("Decision 0 at 2020-03-02")
    page.locator("#j-action").click()
    expect(page.locator("#j-actions li").first).to_have_text(re.compile("^(place|amend|cancel) (bid|ask)"))
    page.locator("#j-time").fill("09:00:03")
    page.locator("#j-time").dispatch_event("change")
    expect(page.locator("#j-title")).to_contain_text("at 2020-03-02 09:00:03")
    before = int(page.locator("#j-at").input_value())
    page.locator("#j-speed").select_option("100")
    page.locator("#j-play").click()
    expect(page.locator("#j-at")).not_to_have_value(str(before))
    page.locator("#j-play").click()
    assert int(page.locator("#j-at").input_value()) > before

    processes.monitor.terminate()
    expect(page.locator("#link")).to_have_text("monitor not reached")
    expect(page.locator("#banner")).to_contain_text("Halt with")
    assert processes.monitor.wait(HUNG_S) == 0
    assert [e for e in errors if "ERR_" not in e] == []
    page.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "light"), (390, 844, "dark"), (1400, 900, "dark")])
def test_it_fits_and_can_be_read(browser: Browser, running: Processes, width: int, height: int, scheme: str) -> None:
    page, errors = _page(browser, running.url, width, height, scheme)
    expect(page.locator("#status")).to_have_text("trading")
    expect(page.locator("#c-pnl .main-svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark[4:-1].split(","))) < 150) == (scheme == "dark")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button,input,select,[role=img]')].filter(e => !(e.innerText || e.ariaLabel || "
        "(e.labels && e.labels.length))).map(e => e.outerHTML)"
    )
    assert unnamed == []
    for name in ("--text", "--dim", "--bid", "--ask", "--bad", "--good", "--warn", "--accent"):
        assert page.evaluate(_CONTRAST, [name, "--box"]) >= 4.5, name
    assert errors == []
    page.close()


_CONTRAST = """([one, other]) => {
  const light = (name) => {
    const probe = document.createElement("span"); probe.style.color = `var(${name})`; document.body.append(probe);
    const c = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    probe.remove();
    return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
  };
  const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
