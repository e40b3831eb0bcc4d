"""Models in production: shadow, promotion, rollback and drift, in paper runs and against the loopback exchange."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from engine.backtest.nautilus_lane import run_day
from engine.cli.main import main
from engine.config import SHIPPED, Config, ModelConfig, MonitorConfig
from engine.drill import campaign as drill
from engine.drill.attempt import KEY, SECRET
from engine.live.deployment import changes
from engine.live.deployment import deployment as deployments
from engine.live.deployment.deployment import Answer, Deployment, ModelReference, Request, Trial
from engine.live.records.journal import Line, read, verify
from engine.live.trading.checklist import check_artifact
from engine.live.trading.paper_run import replay_day
from engine.plan import Plan
from market.errors import ConfigError
from market.events import ASK, BID
from models.ensemble import artifact
from models.ensemble.drift import Comparison, DriftConfig, FeatureRange, Paired
from models.ensemble.predictor import run_graph
from models.errors import ModelError
from tests.replays import Standstill
from tests.traders import HUNG_S, PatientTry
from venues.recordings.catalog import Catalog, Day
from venues.simulation.queues import QueueConfig

S = 10**9


def variant(
    folder: Path, source: Path = SHIPPED, flipped: bool = False, narrow: bool = False, seen: str = ""
) -> ModelReference:
    """A sound artifact of another hash: the same forecasts, or mid changes of the wrong sign; or of narrow range."""
    shutil.copytree(source, folder)
    manifest = artifact.read(folder)
    if flipped:
        graph = onnx.load(folder / artifact.GRAPH)
        for weights in graph.graph.initializer:
            if weights.name == "units":
                units = numpy_helper.to_array(weights).copy()
                units[:, 0] *= -1
                weights.CopyFrom(numpy_helper.from_array(units, "units"))
        onnx.save(graph, folder / artifact.GRAPH)
    output = run_graph(folder / artifact.GRAPH, np.array([manifest.golden.features], np.float32))[0]
    if narrow:
        manifest = msgspec.structs.replace(manifest, feature_low=[0.0] * len(manifest.feature_low))
    if seen:
        manifest = msgspec.structs.replace(manifest, splits={"train": [f"QR.SIM {seen} 0"]})
    manifest = msgspec.structs.replace(
        manifest, name=folder.name, files={**manifest.files, artifact.GRAPH: artifact.file_hash(folder / artifact.GRAPH)},
        golden=msgspec.structs.replace(manifest.golden, output=output.tolist()),
    )  # fmt: skip
    (folder / artifact.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return deployments.member(folder)


def artifact_of(journal: Path) -> str:
    """Hash of the artifact whose decisions a journal keeps."""
    with journal.open() as rows:
        return str(json.loads(rows.readline())["artifact_hash"])


# ── statistics ────────────────────────────────────────────────────────────────────────────────


def test_a_comparison_counts_whole_blocks_and_their_spread() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 3))
    pair = Paired(20 * S, 10**6)
    for i, (one, other, happened) in enumerate(rows):
        pair.add(i * S, one, other, happened)
    whole = rows[:380]  # the twentieth block is still open
    d = ((whole[:, 0] - whole[:, 2]) ** 2 - (whole[:, 1] - whole[:, 2]) ** 2).reshape(19, 20).mean(1)
    found = pair.compare()
    assert (found.outcomes, found.blocks) == (380, 19)
    assert found.z == pytest.approx(d.mean() / (d.std(ddof=1) / math.sqrt(19)))
    assert found.rmse == pytest.approx(np.sqrt(((whole[:, 0] - whole[:, 2]) ** 2).mean()))
    assert found.correlation == pytest.approx(np.corrcoef(whole[:, 0], whole[:, 2])[0, 1])
    assert found.correlation_other == pytest.approx(np.corrcoef(whole[:, 1], whole[:, 2])[0, 1])
    assert found.slope == pytest.approx((whole[:, 0] * whole[:, 2]).sum() / (whole[:, 0] ** 2).sum())


@given(st.lists(st.tuples(*[st.floats(-100, 100)] * 3), min_size=1, max_size=120), st.integers(1, 6))
def test_only_the_last_blocks_count(rows: list[tuple[float, float, float]], kept: int) -> None:
    rolling, fresh = Paired(5 * S, kept), Paired(5 * S, 10**6)
    whole = (len(rows) - 1) // 5
    for i, row in enumerate(rows):
        rolling.add(i * S, *row)
        if i >= 5 * max(whole - kept, 0):
            fresh.add(i * S, *row)
    one, other = rolling.compare(), fresh.compare()
    assert (one.outcomes, one.blocks) == (other.outcomes, other.blocks)
    for name in ("rmse", "rmse_other") if other.blocks else ():
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6, abs=1e-4)


def test_equal_forecasts_differ_by_nothing_and_few_blocks_say_nothing() -> None:
    pair = Paired(2 * S, 100)
    for i in range(20):
        pair.add(i * S, 0.5, 0.5, float(i % 3))
    assert pair.compare().z is None
    assert pair.compare().correlation is None  # of a forecast that never changes
    for i in range(20, 60):
        pair.add(i * S, 0.5, 0.5, float(i % 3))
    assert pair.compare().z == 0.0


def test_features_outside_their_range_are_named_worst_first() -> None:
    found = FeatureRange(["a", "b", "c"], 200)
    for i in range(400):
        found.add(np.array([i >= 300, i % 2 == 0, i < 200]))  # c was, 200 looks ago
        assert i >= 119 or found.drifted(0.2) == []
    assert found.drifted(0.2) == [("a", 0.5), ("b", 0.5)]
    assert found.drifted(0.5) == []


# ── the deployment ───────────────────────────────────────────────────────────────────────────────

TRADES, OTHER = ModelReference(str(SHIPPED), artifact.read(SHIPPED).hash), ModelReference("/nowhere", "f" * 16)


def trial(
    z: float | None, outcomes: int = 1000, failed: int = 0, shadow: ModelReference = OTHER, in_sample: bool = False
) -> Trial:
    mid = Comparison(outcomes=outcomes, blocks=100, z=z)
    return Trial(
        trading=TRADES, shadow=shadow, since_ns=0, until_ns=1, forecasts=outcomes, failed=failed, in_sample=in_sample, mid=mid,
        spread=Comparison(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (None, "nothing is known of it yet"),
        (trial(0.0, shadow=ModelReference("/other", "e" * 16)), "nothing is known of it yet"),
        (trial(-5.0, outcomes=299), "299 forecasts were held against what happened, 300 are needed"),
        (trial(None), "held against what happened"),
        (trial(1.5), r"worse than what trades \(by 1\.5 standard errors\)"),
        (trial(-5.0, failed=1), "1 forecasts were not finite"),
        (trial(-5.0, in_sample=True), "trained on this recording or later ones"),
        (trial(-5.0), "no artifact there"),  # what it says is good, but it has gone
    ],
)
def test_a_promotion_needs_reasons(known: Trial | None, says: str) -> None:
    current = Deployment(configured=TRADES.hash, trading=TRADES, shadow=OTHER)
    with pytest.raises((ConfigError, ModelError), match=says):
        deployments.changed(current, Request("1", "promote", None, False, ""), known)


def test_promotion_and_rollback_change_roles(tmp_path: Path) -> None:
    new = variant(tmp_path / "new")
    current = Deployment(configured=TRADES.hash, trading=TRADES)
    for action in ("drop", "promote", "rollback"):
        with pytest.raises(ConfigError, match=r"nothing was promoted|no artifact runs in the shadow"):
            deployments.changed(current, Request("1", action, None, True, ""), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the artifact that trades"):
        deployments.changed(current, Request("1", "shadow", TRADES, False, ""), None)
    beside = deployments.changed(current, Request("1", "shadow", new, False, "newer days"), None)
    assert (beside.trading, beside.shadow, beside.previous) == (TRADES, new, None)
    after = deployments.changed(beside, Request("2", "promote", None, False, ""), trial(-3.0, shadow=new))
    assert (after.trading, after.shadow, after.previous) == (new, TRADES, TRADES)
    back = deployments.changed(after, Request("3", "rollback", None, True, "slow"), None)
    assert (back.trading, back.shadow, back.previous) == (TRADES, new, None)
    assert [(c.action, c.member.hash, c.because) for c in back.history] == [
        ("shadow", new.hash, "newer days"), ("promote", new.hash, ""), ("rollback", TRADES.hash, "slow"),
    ]  # fmt: skip
    dropped = deployments.changed(back, Request("4", "drop", None, False, ""), None)
    assert dropped.shadow is None


def test_an_artifact_of_other_features_cannot_run_beside(tmp_path: Path) -> None:
    drill.quick_artifact(tmp_path / "quick")
    other = deployments.member(tmp_path / "quick")
    with pytest.raises(ConfigError, match="features are computed differently"):
        deployments.changed(
            Deployment(configured=TRADES.hash, trading=TRADES), Request("1", "shadow", other, False, ""), None
        )


def test_a_promotion_holds_over_restarts_until_the_configuration_names_another(tmp_path: Path) -> None:
    new, newest = variant(tmp_path / "new"), variant(tmp_path / "newest")
    plan = Plan(Config(), "cmm", SHIPPED, None)
    state = tmp_path / "state"
    state.mkdir()
    chosen, found = deployments.begin(state, plan, TRADES.hash)
    assert found is not None
    assert (chosen, found.trading) == (plan, TRADES)
    deployments.write_deployment(state, msgspec.structs.replace(found, trading=new, previous=TRADES))
    chosen, found = deployments.begin(state, plan, TRADES.hash)
    assert found is not None
    assert (chosen.artifact, found.trading) == (Path(new.path), new)
    config = Config()
    config = msgspec.structs.replace(config, live=msgspec.structs.replace(config.live, artifact_hash=TRADES.hash))
    items = check_artifact(config, Path(new.path), dt.date(2026, 1, 1), found)
    assert items[0].holds
    assert f"promoted in the place of {TRADES.hash}" in items[0].text
    assert not check_artifact(config, Path(newest.path), dt.date(2026, 1, 1), found)[0].holds  # it has changed there
    chosen, found = deployments.begin(state, msgspec.structs.replace(plan, artifact=Path(newest.path)), newest.hash)
    assert found is not None
    assert (chosen.artifact, found.trading, found.previous) == (Path(newest.path), newest, None)
    (state / deployments.DEPLOYMENT).write_text("{")
    with pytest.raises(ConfigError, match=r"models\.json: cannot be read .*; move it away"):
        deployments.begin(state, plan, TRADES.hash)


def test_two_people_do_not_ask_at_once(tmp_path: Path) -> None:
    first, second = (Request(one, "drop", None, False, "") for one in ("1", "2"))
    deployments.ask(tmp_path, first)
    with pytest.raises(ConfigError, match="somebody else asks for a change"):
        deployments.ask(tmp_path, second)
    deployments.withdraw(tmp_path, second)
    assert deployments.take_request(tmp_path) == first
    assert deployments.take_request(tmp_path) is None
    deployments.ask(tmp_path, second)
    deployments.withdraw(tmp_path, second)
    assert list(tmp_path.iterdir()) == []


# ── in a paper run ────────────────────────────────────────────────────────────────────────────


class Asks:
    """Leaves requests at shares of a run, which stands still until they are answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *steps: tuple[float, Request]) -> None:
        self.answers: list[Answer] = []
        self._folder, self._left, self._still = folder, list(steps), Standstill(monkeypatch)

    def __call__(self, _: dt.date, share: float) -> None:
        if self._left and share > self._left[0][0]:
            request = self._left.pop(0)[1]
            deployments.ask(self._folder, request)
            self._still.until = lambda: self._is_answered(request)

    def _is_answered(self, request: Request) -> bool:
        found = deployments.answered(self._folder, request.id)
        if found is not None:
            self.answers.append(found)
        return found is not None


def settings(sockets: Path, drift: DriftConfig | None = None) -> Config:
    return Config(
        monitor=MonitorConfig(path=str(sockets), every_ms=50), model=ModelConfig(drift=drift or DriftConfig())
    )


def test_a_promotion_leaves_no_gap(brief: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact of equal forecasts takes over in mid-run: action by action it is as if nothing had happened."""
    new, folder = variant(tmp_path / "new"), tmp_path / "run"
    folder.mkdir()
    plan = Plan(settings(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    there = run_day(*brief, plan)
    steps = Asks(
        monkeypatch,
        folder,
        (0.2, Request("1", "shadow", new, False, "")),
        (0.6, Request("2", "promote", None, True, "a test")),
    )
    here = replay_day(*brief, plan, 0.0, folder / "journal.jsonl", steps)
    np.testing.assert_array_equal(here.recorder.forecasts, there.recorder.forecasts)
    assert here.recorder.actions == there.recorder.actions
    assert here.recorder.fills == there.recorder.fills
    assert deployments.answered(folder, "2") == Answer(
        "2", True, f"{new.hash} trades, {TRADES.hash} runs in its shadow"
    )
    left = deployments.read_deployment(folder)
    assert left is not None
    assert (left.trading, left.previous, left.shadow, left.pid) == (new, TRADES, TRADES, 0)

    parts = [folder / "journal.jsonl", folder / "journal-2.jsonl"]
    assert [artifact_of(part) for part in parts] == [TRADES.hash, new.hash]
    lines = [line for part in parts for line in read(part)[1] if line is not None]
    assert len(lines) == sum(np.isfinite(there.recorder.forecasts[:, 0]))  # each decision stands in one of the two
    assert all(verify(part).differences == [] for part in parts)

    by_time = {(line.ts_ns, line.features_hash): line.forecast for line in lines}
    shadows = [path.read_text().splitlines() for path in sorted(folder.glob("shadow-*.jsonl"))]
    assert sorted(json.loads(rows[0])["shadow"]["hash"] for rows in shadows) == sorted([new.hash, TRADES.hash])
    for rows in shadows:
        assert len(rows) > 100
        for row in rows[1:]:
            ts_ns, features, forecast, trading = json.loads(row)
            assert forecast == trading == pytest.approx(by_time[ts_ns, features])
    known = deployments.last_trial(folder)
    assert known is not None
    assert (known.trading, known.shadow, known.failed, known.mid.z or 0.0) == (new, TRADES, 0, 0.0)
    assert known.forecasts == len(next(rows for rows in shadows if TRADES.hash in rows[0].split("shadow")[1])) - 1


def test_a_bad_model_is_seen_beside_a_good_one_and_raises_alarms_when_it_trades(
    sim: tuple[Catalog, Day], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, folder = variant(tmp_path / "bad", flipped=True, narrow=True), tmp_path / "run"
    folder.mkdir()
    drift = DriftConfig(window_s=400.0, sigmas=0.5)
    plan = Plan(settings(tmp_path, drift), "cmm", SHIPPED, None, QueueConfig(model="power"))
    replay_day(
        *sim, plan, 0.0, folder / "j.jsonl", Asks(monkeypatch, folder, (0.1, Request("1", "shadow", bad, False, "")))
    )
    known = deployments.last_trial(folder)
    assert known is not None
    assert known.mid.outcomes > deployments.LEAST_OUTCOMES
    assert known.mid.correlation_other is not None and known.mid.correlation is not None
    assert known.mid.correlation < 0.0 < known.mid.correlation_other
    assert known.verdict == "worse"
    assert known.spread.z == 0.0
    assert "drift" not in capsys.readouterr().err  # the good one fits
    replay_day(*sim, msgspec.structs.replace(plan, artifact=Path(bad.path)), 0.0, tmp_path / "other" / "j.jsonl")
    said = capsys.readouterr().err
    assert f"ALARM feature_drift: QR.SIM: {bad.hash}: " in said
    assert "ALARM calibration_drift" in said
    assert said.count("ALARM feature_drift") == 1


def test_requests_that_cannot_be_met_leave_the_run_alone(
    brief: tuple[Catalog, Day], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, broken = tmp_path / "run", variant(tmp_path / "broken")
    folder.mkdir()
    (Path(broken.path) / artifact.GRAPH).write_bytes(b"no graph")
    (folder / deployments.REQUEST).write_text(json.dumps({"id": "0", "action": "promote"}))  # of a time before
    plan = Plan(settings(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    steps = Asks(
        monkeypatch,
        folder,
        (0.2, Request("1", "shadow", broken, False, "")),
        (0.5, Request("2", "rollback", None, True, "")),
    )
    here = replay_day(*brief, plan, 0.0, folder / "journal.jsonl", steps)
    assert here.recorder.actions == run_day(*brief, plan).recorder.actions
    assert [(a.done, a.text.rsplit(": ", 1)[-1]) for a in steps.answers] == [
        (False, "missing or changed since the artifact was written; restore it or train again"),
        (False, "there is nothing to go back to"),
    ]
    left = deployments.read_deployment(folder)
    assert left is not None
    assert (left.trading, left.shadow, left.history) == (TRADES, None, [])


@pytest.mark.parametrize(
    ("seen", "verdict", "market"), [("2020-03-01", "not told apart", "sim"), ("2020-03-02", "in-sample", "brief")]
)
def test_a_comparison_on_days_of_training_is_none(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seen: str,
    verdict: str,
    market: str,
) -> None:
    new, folder = variant(tmp_path / "new", seen=seen), tmp_path / "run"
    folder.mkdir()
    plan = Plan(settings(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    steps = Asks(
        monkeypatch,
        folder,
        (0.05, Request("1", "shadow", new, False, "")),
        (0.9, Request("2", "promote", None, False, "")),
    )
    replay_day(*request.getfixturevalue(market), plan, 0.0, folder / "journal.jsonl", steps)
    known, answer = deployments.last_trial(folder), deployments.answered(folder, "2")
    assert known is not None
    assert answer is not None
    assert answer.done == (verdict != "in-sample")
    assert known.verdict == verdict or answer.done
    assert answer.done or "proves nothing" in answer.text


def test_a_shadow_that_fails_ends_alone(
    brief: tuple[Catalog, Day], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    new, folder = variant(tmp_path / "new"), tmp_path / "run"
    folder.mkdir()
    plan = Plan(settings(tmp_path), "cmm", SHIPPED, None, QueueConfig(model="power"))
    there = run_day(*brief, plan)

    def fails(*_: Any) -> None:
        raise RuntimeError("as asked to")

    monkeypatch.setattr("engine.live.deployment.model_manager.Shadow.forecast", fails)
    steps = Asks(monkeypatch, folder, (0.2, Request("1", "shadow", new, False, "")))
    here = replay_day(*brief, plan, 0.0, folder / "journal.jsonl", steps)
    assert here.recorder.actions == there.recorder.actions
    assert capsys.readouterr().err.count(f"ALARM shadow: QR.SIM: {new.hash} failed: RuntimeError: as asked to") == 1
    left = deployments.read_deployment(folder)
    assert left is not None
    assert left.shadow == new  # what people asked for stands, for the next start


# ── live ──────────────────────────────────────────────────────────────────────────────────────


def cmm(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, list(arguments))
    return done.exit_code, done.output


EMPTY: tuple[list[Any], list[Any]] = ([], [])


def decisions(state: Path) -> list[list[Line]]:
    """What each journal of a state folder holds so far."""
    return [
        [line for line in read(path)[1] if line is not None] for path in sorted((state / "journal").glob("*.jsonl"))
    ]


def test_live_a_promotion_survives_kill_and_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As people do it: shadow, look, promote, a crash, roll back; the promotion takes over quotes that stand."""
    quick = tmp_path / "artifact"
    old = ModelReference(str(quick.resolve()), drill.quick_artifact(quick))
    new = variant(tmp_path / "new", quick)
    monkeypatch.setenv("CMM_BYBIT_KEY", KEY)
    monkeypatch.setenv("CMM_BYBIT_SECRET", SECRET)
    monkeypatch.setattr(changes, "_ANSWER_S", HUNG_S)

    async def work() -> None:
        t = PatientTry(tmp_path / "try", 7, quick, old.hash, Config())
        state = t.folder / "state"
        engine = t.exchange.engine

        async def models(*arguments: str) -> tuple[int, Any]:
            code, text = await asyncio.to_thread(cmm, "models", *arguments, "--state", str(state), "--json")
            return code, json.loads(text) if code == 0 else text

        await t.open()
        try:
            assert "no trader that forecasts has run there" in (await models("shadow"))[1]
            await t.start()
            assert await t.quoting(), t.tail()
            assert (await models("shadow", new.path))[0] == 0
            assert await t.until(lambda: (k := deployments.last_trial(state)) is not None and k.forecasts > 20, HUNG_S)
            code, text = await models("promote")
            assert (code, "300 are needed" in text) == (2, True)
            code, after = await models("promote", "--anyway", "--reason", "a test")
            assert code == 0, after
            assert after["deployment"]["trading"]["hash"] == new.hash
            assert await t.until(lambda: len(decisions(state)) == 2 and len(decisions(state)[1]) > 20, HUNG_S)

            t.trader.kill()  # type: ignore[union-attr]
            await t.trader.wait()  # type: ignore[union-attr]
            assert await t.until(lambda: engine.resting(BID) == engine.resting(ASK) == 0, HUNG_S)
            await t.start()  # the configuration names the old one; what was promoted trades
            assert await t.quoting(), t.tail()
            assert f"promoted in the place of {old.hash}" in " ".join(
                t.outputs[-1].read_text().replace("│", " ").split()
            )
            shown = (await models("shadow"))[1]
            assert (shown["running"], shown["deployment"]["trading"]["hash"]) == (True, new.hash)
            code, after = await models("rollback", "--reason", "enough")
            assert (code, after["deployment"]["trading"]["hash"]) == (0, old.hash), after
            t.trader.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
            assert await asyncio.wait_for(t.trader.wait(), HUNG_S) == 0  # type: ignore[union-attr]
            code, after = await models("promote", "--anyway")  # while none trades: for the next start
            assert (code, after["deployment"]["trading"]["hash"]) == (0, new.hash), after
            assert "at its next start" in after["text"]
        finally:
            await t.close()
        journals = sorted((state / "journal").glob("*.jsonl"))
        hashes = [artifact_of(path) for path in journals]
        assert hashes == [old.hash, new.hash, new.hash, old.hash]
        for path, one in zip(journals, (old, new, new, old), strict=True):
            verdict = verify(path, Path(one.path))
            assert (verdict.decisions > 0, verdict.differences) == (True, [])
        last, first = decisions(state)[0][-1], decisions(state)[1][0]
        assert first.ts_ns > last.ts_ns
        assert last.ladder != EMPTY != first.ladder  # it takes over what stands, and neither pulls it
        assert first.bids or first.asks
        kinds = [json.loads(row)["kind"] for row in (state / "alarms.jsonl").read_text().splitlines()]
        assert kinds.count("promotion") == 2
        assert len(list((state / "shadow").glob("*.jsonl"))) == 4
        assert t.broken == []

    asyncio.run(work())
