"""Files are written whole or not at all, and locks end with their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import Timeout

from market.files import lock_on, read_json, write_json, write_whole, written_beside


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="full"), written_beside(path) as beside:
        beside.write_bytes(b"ne")
        raise OSError("disk full")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"old")
    with written_beside(path) as beside:
        beside.write_bytes(b"ne")
        assert path.read_bytes() == b"old"
        beside.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_a_durable_file_is_on_the_disk_before_it_takes_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, steps = tmp_path / "latch.json", []
    replace, fsync = os.replace, os.fsync

    def note_fsync(number: int) -> None:
        steps.append(Path(f"/proc/self/fd/{number}").readlink().name)
        fsync(number)

    def note_replace(old: Path, new: Path) -> None:
        steps.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_json(path, {"reason": "loss"}, durable=True)
    assert steps == [f".latch.json.{os.getpid()}", "rename", tmp_path.name]
    assert read_json(path, dict[str, str]) == {"reason": "loss"}


def test_json_that_is_missing_or_of_another_kind_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path, dict[str, int]) is None
    write_json(path, ["a"], indented=True)
    assert path.read_text() == '[\n  "a"\n]\n'
    assert read_json(path, dict[str, int]) is None


def test_a_lock_is_held_once_even_within_a_process(tmp_path: Path) -> None:
    first, second = lock_on(tmp_path / "lock"), lock_on(tmp_path / "lock")
    with first, pytest.raises(Timeout):
        second.acquire()
    with second:
        assert second.is_locked
    assert (tmp_path / "lock").exists()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from market.files import lock_on\n"
        "lock = lock_on(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Timeout):
            lock_on(tmp_path / "lock").acquire()
        holder.kill()
        holder.wait()
        with lock_on(tmp_path / "lock"):
            pass
