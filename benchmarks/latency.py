"""Decision latency by step, on simulated book updates, beside an empty ONNX graph run the same way."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from engine.backtest.run_recorder import RunRecorder
from engine.config import SHIPPED, Config
from market.events import ASK, BID, BookUpdate, Trade
from models.ensemble.predictor import Predictor
from models.ensemble.recalibrate_config import RecalibrateConfig
from models.features.book_features import BookFeatures
from strategies.decision import Decider, Inputs
from strategies.limits import RiskState
from strategies.quoters import CmmQuoter
from strategies.values import Kind, Market
from strategies.working import WorkingOrders
from venues.recordings.simulator import simulate

_STEPS = (
    "features", "predict", "market and standing", "ladder, differ, limits", "all four", "empty graph", "predict, recalibrating",
)  # fmt: skip
_WARM_UP = 2_000


def main(seconds: float = 900.0) -> None:
    """Print p50, p99 and p99.9 of each step in microseconds."""
    predictor, config = Predictor(SHIPPED), Config()
    moving = Predictor(SHIPPED, RecalibrateConfig(enabled=True))
    recalibrator = moving.recalibrator
    assert recalibrator is not None
    features = BookFeatures(predictor.manifest.spec)
    features.vector = predictor.features[0]
    quoting = config.strategy
    decider = Decider(quoting.ladder, quoting.differ, config.limits, config.guard.model, CmmQuoter(quoting.cmm, 0.0))
    orders, empty, recorder = WorkingOrders(), _empty_graph(len(predictor.manifest.spec.names)), RunRecorder()
    changes = np.zeros((64, 3), np.int64)
    samples: list[list[int]] = []
    clock, key = time.perf_counter_ns, 0
    gc.disable()
    for event in simulate(1, seconds, 10**18):
        if isinstance(event, Trade):
            features.on_trade(event.ts_recv, event.price, event.size, event.aggressor)
            recalibrator.on_trade(event.ts_recv, event.price, event.size, event.aggressor)
            continue
        assert isinstance(event, BookUpdate)
        changes[: len(event.levels)] = event.levels
        t0 = clock()
        ready = features.on_book(event.ts_recv, changes, len(event.levels), event.snapshot)
        t1 = clock()
        if not ready:
            continue
        forecast = predictor.predict()
        t2 = clock()
        assert forecast is not None
        market = Market(
            features.bid_ticks, features.ask_ticks, features.sigma_ticks, 5.0, features.trend_ticks(2), features.regime
        )
        books = {side: orders.touchable(side) for side in (BID, ASK)}
        rows = [[(o.price, o.left) for o in books[side]] for side in (BID, ASK)]
        e = orders.exposure
        standing = RiskState(e.position, e.buys, e.sells, e.orders, orders.standing())
        inputs = Inputs(market, forecast, "", (False, False), rows[0], rows[1], standing)
        t3 = clock()
        actions = decider.decide(inputs).actions
        t4 = clock()
        empty()
        t5 = clock()
        moving.features[0] = predictor.features[0]
        recalibrator.on_book(event.ts_recv, features.bid_ticks, features.ask_ticks, features.is_sound)
        moving.predict()
        moving.remember(event.ts_recv, features.regime)
        t6 = clock()
        samples.append([t1 - t0, t2 - t1, t3 - t2, t4 - t3, t4 - t0, t5 - t4, t6 - t5])
        for action in actions:  # as if the venue took everything at once
            if action.kind == Kind.PLACE:
                key += 1
                orders.sent(key, action.side, action.price, action.size)
                orders.accepted(key)
            elif action.kind == Kind.CANCEL:
                orders.gone(books[action.side][action.order].key)
            else:
                orders.resized(books[action.side][action.order].key, action.size)
        recorder.on_actions(event.ts_recv, actions)
    gc.enable()
    times = np.array(samples[_WARM_UP:]) / 1e3
    print(
        f"decision latency, µs, {len(times):,} book updates, {sum(recorder.actions) / len(samples):.2f} order actions an update"
    )
    print(f"{'step':<24}{'p50':>9}{'p99':>9}{'p99.9':>9}")
    for name, column in zip(_STEPS, times.T, strict=True):
        p50, p99, p999 = np.quantile(column, [0.5, 0.99, 0.999])
        print(f"{name:<24}{p50:>9.1f}{p99:>9.1f}{p999:>9.1f}")
    print(f"{recalibrator.refits} refits, the slowest update with one {times[:, 6].max() / 1e3:.2f} ms")
    print(f"predict over empty graph, median: {np.median(times[:, 1]) / np.median(times[:, 5]):.1f}")


def _empty_graph(features: int):  # type: ignore[no-untyped-def]
    """A graph that hands its input on, bound the same way: what ONNX Runtime costs by itself."""
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, features]) for name in ("x", "y")]
    graph = helper.make_graph([node], "empty", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.onnx"
        onnx.save(model, path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x, y = np.zeros((1, features), np.float32), np.zeros((1, features), np.float32)
    values_in, values_out = ort.OrtValue.ortvalue_from_numpy(x), ort.OrtValue.ortvalue_from_numpy(y)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", values_in)
    binding.bind_ortvalue_output("y", values_out)

    def run() -> list[float]:
        session.run_with_iobinding(binding)
        return values_out.numpy()[0, :6].tolist()  # type: ignore[no-any-return]

    return run


if __name__ == "__main__":
    main()
