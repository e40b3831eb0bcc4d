"""Zip and tar files: each member is a file of its own, for every loader and for mappings."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.dirty import MS, T0, cmm, events, imported, refused, write
from venues.recordings.loaders import archives
from venues.recordings.loaders.base import lines, open_binary, parts

BTC = "BTCUSDT-PERP.BINANCE"
SNAPSHOT = '{"lastUpdateId":100,"bids":[["100.0","1"]],"asks":[["100.1","1"]]}'
MAP = """
instrument: BTCUSDT-PERP.BINANCE
time: {arrival: t}
rows:
  - {row: trade, files: "*.csv", price: p, size: q}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def capture(start_ms: int, first: int) -> str:
    """A snapshot and a diff."""
    data = f'"E":{T0 // MS + start_ms},"T":{T0 // MS + start_ms},"U":{first},"u":{first},"pu":{first - 1}'
    diff = '{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate",' + data + ',"b":[["99.9","2"]],"a":[]}}'
    at = T0 + start_ms * MS
    return f"{at} {SNAPSHOT.replace('100,', f'{first - 1},')}\n{at + MS} {diff}\n"


def zipped(path: Path, **members: bytes | str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_members_are_files_that_join_and_are_known_again(home: Path) -> None:
    two = {"day/b.txt": capture(5_000, 200), "day/a.txt.gz": gzip.compress(capture(0, 101).encode())}
    path = zipped(home / "x.zip", **two, **{"__MACOSX/day/._a.txt": b"junk", "day/.DS_Store": b"junk"})
    imported(path)
    assert [e["ts"] - T0 for e in events(BTC)] == [0, MS, 5_000 * MS, 5_001 * MS]
    again = cmm("import", path)
    assert again.exit_code == 0
    assert "there already" in again.stdout


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_tar(home: Path, name: str) -> None:
    path = tarred(home / name, **{"./d/a.txt": capture(0, 101).encode(), "d/b.txt": capture(5_000, 200).encode()})
    imported(path)
    assert len(events(BTC)) == 4


def test_a_mapping_reads_members(home: Path) -> None:
    write(home / "m.yaml", MAP)
    path = zipped(home / "x.zip", **{"a.csv": f"t,p,q\n{T0},100.0,1\n", "b.csv": f"t,p,q\n{T0 + MS},100.1,2\n"})
    result = cmm("import", "--map", "m.yaml", path)
    assert result.exit_code == 0, result.output
    assert [(e["price"], e["lots"]) for e in events(BTC)] == [(100.0, 1000), (100.1, 2000)]


def test_a_mapping_knows_members_by_their_archive_s_name(home: Path) -> None:
    write(home / "m.yaml", MAP.replace("*.csv", "*trades*"))
    path = zipped(home / "my_trades.zip", **{"1.csv": f"t,p,q\n{T0},100.0,1\n"})
    assert cmm("import", "--map", "m.yaml", path).exit_code == 0


def test_an_archive_without_files_is_skipped(home: Path) -> None:
    result = cmm("import", zipped(home / "none.zip"), zipped(home / "x.zip", **{"a.txt": capture(0, 101), "b.txt": ""}))
    assert result.exit_code == 0, result.output
    assert "none.zip: skipped" in result.stderr
    assert "x.zip/b.txt: skipped" in result.stderr


def test_what_is_damaged_or_nested_is_refused(home: Path) -> None:
    inner = zipped(home / "inner.zip", **{"a.txt": capture(0, 101)})
    refused(cmm("import", zipped(home / "x.zip", **{"in.zip": inner.read_bytes()})), "an archive inside an archive")
    for start in (b"PAR1", b"CMMCAP1\n"):
        refused(cmm("import", zipped(home / "x.zip", **{"in": start})), "x.zip/in", "inside an archive", "unpack")
    refused(cmm("import", tarred(home / "x.tar", **{"in.npy": b"\x93NUMPY"})), "array", "inside an archive")
    whole = inner.read_bytes()
    (home / "cut.zip").write_bytes(whole[:-30])
    refused(cmm("import", home / "cut.zip"), "cut.zip", "damaged")
    bad = bytearray(whole)
    bad[60] ^= 0xFF  # in the compressed bytes
    (home / "bad.zip").write_bytes(bad)
    refused(cmm("import", home / "bad.zip"), "bad.zip", "damaged")
    secret = bytearray(whole)
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        place = secret.index(mark) + (6 if mark == b"PK\x03\x04" else 8)
        secret[place] |= 1
    (home / "secret.zip").write_bytes(secret)
    refused(cmm("import", home / "secret.zip"), "encrypted", "unpack")
    tar = tarred(home / "x.tar.gz", **{"a.txt": capture(0, 101).encode() * 500})
    (home / "cut.tar.gz").write_bytes(tar.read_bytes()[:-40])
    refused(cmm("import", home / "cut.tar.gz"), "cut.tar.gz", "truncated or damaged")


def test_a_bomb_is_refused_before_it_unfolds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_LARGE", 1 << 16)
    refused(cmm("import", zipped(home / "x.zip", **{"a.txt": "0" * (1 << 17)})), "unfolds from", "unpack it yourself")
    monkeypatch.setattr(archives, "_MAX_MEMBERS", 3)
    refused(cmm("import", zipped(home / "y.zip", **{f"{i}.txt": "x" for i in range(4)})), "holds 4 files")


def test_arrays_of_numpy_are_no_archive_of_recordings(home: Path) -> None:
    path = zipped(home / "x.npz", **{"data.npy": b"\x93NUMPY", "note.json": "{}"})
    assert parts(path) == [path]
    with open_binary(path) as stream:
        assert stream.read(2) == b"PK"


def test_names_never_lead_out_of_the_archive(home: Path) -> None:
    path = zipped(home / "x.zip", **{"../../a.txt": "one\n", "/b.txt": "two\n", "c\\d.txt": "three\n"})
    found = parts(path)
    assert [p.relative_to(path).as_posix() for p in found] == ["a.txt", "b.txt", "c/d.txt"]
    assert [text for p in found for _, text in lines(p)] == ["one", "two", "three"]
    assert "two files of this name" in str(refused_parts(zipped(home / "y.zip", **{"../a.txt": "1", "a.txt": "2"})))


def refused_parts(path: Path) -> Exception:
    with pytest.raises(Exception) as error:
        parts(path)
    return error.value
