"""Compiled code: kept by the content of its sources, and ready before a maker sees its first event."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]

FIRST_EVENTS = """
import pytest
from numba.core import event
from market.events import BID
from tests import driven

class Waits(event.Listener):
    seen = 0
    def on_start(self, event): Waits.seen += 1
    def on_end(self, event): pass

made = driven.MarketMaker.__init__
def begin(self, *given):
    made(self, *given)
    event.register("numba:compiler_lock", Waits())
driven.MarketMaker.__init__ = begin
market = driven.Market(pytest.MonkeyPatch())
market.move(3)
market.rest(0.5)
market.fill(BID)
print(market.maker.counts["action_place"] > 0, Waits.seen)
"""


def test_a_maker_compiles_and_loads_nothing_once_it_is_made() -> None:
    ran = subprocess.run([sys.executable, "-c", FIRST_EVENTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["True", "0"], ran.stdout + ran.stderr


def where(home: Path) -> str:
    asks = "import numba, market.compiled; print(numba.config.CACHE_DIR)"
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    ran = subprocess.run(
        [sys.executable, "-c", asks], cwd=ROOT, env={**kept, "XDG_CACHE_HOME": str(home)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return ran.stdout.strip()


def test_compiled_code_lies_by_its_sources_and_what_is_in_use_elsewhere_stays(tmp_path: Path) -> None:
    used, old = tmp_path / "cmm-compiled" / "another-version", tmp_path / "cmm-compiled" / "long-gone"
    for folder in (used, old):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    folder = where(tmp_path)
    assert Path(folder).parent == tmp_path / "cmm-compiled"
    assert where(tmp_path) == folder
    assert used.is_dir()
    assert not old.exists()


def test_without_a_folder_to_keep_it_a_process_compiles_for_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one, other = where(tmp_path / "file"), where(tmp_path / "file")
    assert one != other
    assert not Path(one).exists()


def test_the_image_has_every_room() -> None:
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = (ROOT / "deploy" / "Dockerfile").read_text()
    for room in (name.rstrip("*") for name in include):
        assert f"COPY {room} {room}\n" in copied
