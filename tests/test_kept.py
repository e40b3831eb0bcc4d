"""What earlier versions wrote is read: configurations whose keys have other names now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config import Config, load
from engine.config.kept import read_kept
from engine.live.records.journal import Header, read
from engine.live.safety.state import StateFolder
from market.errors import ConfigError


def former(config: Config) -> dict[str, Any]:
    """The configuration as a version before the renaming wrote it."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    tree["train"]["teacher"]["body"] = tree["train"]["teacher"].pop("backbone")
    tree["train"]["contestants"] = tree["train"].pop("baselines")
    tree["calibrate"]["phantoms"] = tree["calibrate"].pop("orders")
    return tree


def test_a_kept_configuration_is_read_by_its_former_names() -> None:
    config = load(None, ["calibrate.orders=500", "train.baselines=false", "train.teacher.backbone=random"])
    assert read_kept(msgspec.json.encode(former(config))) == config
    assert read_kept(msgspec.json.encode(config)) == config


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    header = Header(
        config=Config(), quoter="foic", instrument="QR.SIM", artifact=None, artifact_hash=None, break_even_ticks=0.5,
        intensity=None, started_ns=1,
    )  # fmt: skip
    tree = msgspec.to_builtins(header)
    tree["config"] = former(Config())
    path = tmp_path / "journal.jsonl"
    path.write_bytes(msgspec.json.encode(tree) + b"\n")
    found, lines = read(path)
    assert (found, list(lines)) == (header, [])


def test_a_state_folder_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "watchdog-config.json").write_bytes(msgspec.json.encode(former(Config())))
    kept = StateFolder(tmp_path).kept_config()
    assert kept is not None
    assert kept.calibrate == Config().calibrate


@pytest.mark.parametrize(
    ("written", "now"),
    [
        ("calibrate.phantoms=500", "orders"),
        ("train.contestants=false", "baselines"),
        ("train.teacher.body=none", "backbone"),
    ],
)
def test_a_person_is_told_the_new_name(written: str, now: str) -> None:
    with pytest.raises(ConfigError, match=f"is called `{now}` now; rename it"):
        load(None, [written])
