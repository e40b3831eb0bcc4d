"""Fixtures: real recordings (skipped where they are missing), a simulated day, small files."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores; must be set before torch is loaded

import tempfile

os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="cmm-tests-")  # the user's monitor hears nothing of our traders

from collections import Counter
from pathlib import Path

import hypothesis
import pytest

from market.contracts import ContractTable
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events
from venues.recordings.simulator import simulate

_RUNTIME = Path(os.environ["XDG_RUNTIME_DIR"])
pytest_plugins = ["tests.leaks"]

hypothesis.settings.register_profile(  # the same examples each time, however long they take
    "cmm", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("cmm")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell's background job has it: our children would too
    signal.signal(signal.SIGINT, signal.default_int_handler)

CTP_HEADER = (
    "TradingDay,ActionDay,UpdateTime,UpdateMillisec,ExchangeID,InstrumentID,LastPrice,Volume,Turnover,"
    "BidPrice1,BidVolume1,AskPrice1,AskVolume1"
)


def pytest_unconfigure() -> None:
    shutil.rmtree(_RUNTIME, ignore_errors=True)


@pytest.fixture(scope="session")
def contracts() -> ContractTable:
    return ContractTable()


@pytest.fixture(scope="session")
def recordings_folder() -> Path:
    folder = Path(os.environ.get("CMM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real recordings are not here: {folder} (set CMM_DATA)")
    return folder


@pytest.fixture
def catalog(tmp_path: Path, contracts: ContractTable) -> Catalog:
    return Catalog(tmp_path / "data", contracts)


def _market(folder: Path, contracts: ContractTable, seed: int, seconds: float) -> tuple[Catalog, Day]:
    catalog = Catalog(folder / "data", contracts)
    start = int(dt.datetime(2020, 3, 2, 9, tzinfo=dt.UTC).timestamp()) * 10**9
    events = simulate(seed, seconds, start)
    return catalog, import_events(catalog, events, "sim", "simulator", [], Counter(), lambda *_: None).days[0]


@pytest.fixture(scope="session")
def sim(tmp_path_factory: pytest.TempPathFactory, contracts: ContractTable) -> tuple[Catalog, Day]:
    """A catalog with eight minutes of simulated market."""
    return _market(tmp_path_factory.mktemp("sim"), contracts, 5, 480.0)


@pytest.fixture(scope="session")
def brief(tmp_path_factory: pytest.TempPathFactory, contracts: ContractTable) -> tuple[Catalog, Day]:
    """Three minutes of it, for what a live node replays: half a minute of warm-up, then some twenty fills."""
    return _market(tmp_path_factory.mktemp("brief"), contracts, 11, 180.0)


def ctp_row(
    time: str = "09:30:00",
    millis: int = 500,
    last: object = 5230.0,
    volume: object = 100,
    turnover: object = None,
    bid: object = 5229.8,
    ask: object = 5230.2,
    sizes: tuple[object, object] = (3, 4),
    day: str = "20210104",
    action_day: str | None = None,
    symbol: str = "IF2101",
    exchange: str = "CFFEX",
) -> str:
    """One row of a CTP file; turnover defaults to volume at 5230."""
    if turnover is None:
        turnover = float(volume) * 5230.0 * 300  # type: ignore[arg-type]
    fields = [
        day,
        action_day or day,
        time,
        millis,
        exchange,
        symbol,
        last,
        volume,
        turnover,
        bid,
        sizes[0],
        ask,
        sizes[1],
    ]
    return ",".join(map(str, fields))


def ctp_file(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join([CTP_HEADER, *rows]) + "\n")
    return path


def ctp_day(path: Path, count: int = 400, **fixed: object) -> Path:
    """A quiet morning of IF, one row each half second."""
    rows = []
    for i in range(count):
        seconds, millis = divmod(i * 500, 1000)
        shift = 0.2 * ((i // 7) % 5)
        rows.append(
            ctp_row(
                f"09:{30 + seconds // 60:02d}:{seconds % 60:02d}",
                millis,
                volume=100 + i,
                turnover=(100 + i) * 5230.0 * 300,
                bid=round(5229.8 + shift, 1),
                ask=round(5230.2 + shift, 1),
                **fixed,  # type: ignore[arg-type]
            )
        )
    return ctp_file(path, rows)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama of 4 layers, saved as transformers saves models."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=64, **shape, num_key_value_heads=2, max_position_embeddings=64)
    LlamaModel(config).save_pretrained(folder)
    return str(folder)
