"""Loaders by format; which one reads a file is found by the file's content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from market.errors import DataError, EmptyFileError
from venues.recordings.loaders.base import Loader, Recording, Traits, head, is_header_alone, members
from venues.recordings.loaders.binance import BinanceLoader
from venues.recordings.loaders.binance_archive import BinanceArchiveLoader
from venues.recordings.loaders.bitstamp import BitstampLoader
from venues.recordings.loaders.bybit import BybitLoader
from venues.recordings.loaders.capture import CaptureLoader
from venues.recordings.loaders.coinbase import CoinbaseLoader
from venues.recordings.loaders.ctp import CtpLoader
from venues.recordings.loaders.databento import DatabentoLoader
from venues.recordings.loaders.hftbacktest import HftbacktestLoader
from venues.recordings.loaders.itch import ItchLoader
from venues.recordings.loaders.lobster import LobsterLoader
from venues.recordings.loaders.mapped import MappingLoader, mapped_recording
from venues.recordings.loaders.nautilus import NautilusLoader
from venues.recordings.loaders.okx import OkxLoader
from venues.recordings.loaders.sgx import SgxLoader
from venues.recordings.loaders.shanghai import ShanghaiLoader
from venues.recordings.loaders.tardis import TardisLoader

LOADERS: dict[str, Loader] = {
    loader.name: loader
    for loader in (
        CtpLoader(),
        BybitLoader(),
        OkxLoader(),
        BinanceArchiveLoader(),
        BinanceLoader(),
        TardisLoader(),
        CoinbaseLoader(),
        BitstampLoader(),
        LobsterLoader(),
        DatabentoLoader(),
        SgxLoader(),
        ShanghaiLoader(),
        ItchLoader(),
        HftbacktestLoader(),
        NautilusLoader(),
        CaptureLoader(),
        MappingLoader(),
    )
}


_PARTS_MAY_BE_EMPTY = frozenset({"coinbase"})


def detect(path: Path) -> Loader:
    """Return the loader that recognises a file's content."""
    start = head(path)
    if not start.strip():
        raise EmptyFileError(f"{path}: the file is empty")
    for loader in LOADERS.values():
        if loader.recognises(path, start):
            return loader
    first = start.split("\n", 1)[0].strip()[:80]
    raise DataError(
        f"{path}: no known recording format begins with {first!r}; "
        f"name one with --format ({', '.join(LOADERS)}), or say what its columns mean with --map"
    )


def traits(format_name: str) -> Traits:
    """How the feed of a day tells of trades; the simulator's tells each as it happens."""
    return LOADERS[format_name].traits if format_name in LOADERS else Traits()


def recordings(
    paths: Sequence[Path],
    format_name: str | None = None,
    empty: list[Path] | None = None,
    chosen: Sequence[str] = (),
) -> list[Recording]:
    """Group files into recordings, each with its loader's name.

    Files without a row go into `empty`, where one is given: a day without trades is normal. `chosen` are the
    instruments that a user named, for formats that ask for them.
    """
    by_loader: dict[str, list[Path]] = {}
    for path in members([file for named in paths for file in _files(named)], empty):
        try:
            name = detect(path).name if format_name is None else format_name
            if name in _PARTS_MAY_BE_EMPTY or not is_header_alone(path):
                by_loader.setdefault(name, []).append(path)
                continue
        except EmptyFileError:
            pass
        if empty is None:
            raise EmptyFileError(f"{path}: the file is empty")
        empty.append(path)
    found = [rec for name, files in by_loader.items() for rec in LOADERS[name].group(files)]
    return [_with_choice(rec, tuple(dict.fromkeys(chosen))) for rec in found] if chosen else found


def _files(path: Path) -> list[Path]:
    """A file, or those of a folder that is a catalog of Nautilus."""
    if not path.is_dir():
        return [path]
    if (path / "manifest").is_dir():
        raise DataError(f"{path}: it is a catalog already; read it with --set data.path={path}")
    nautilus = LOADERS[NautilusLoader.name]
    files = [file for file in sorted(path.rglob("*.parquet")) if nautilus.recognises(file, head(file, 4))]
    if not files:
        raise DataError(f"{path}: a folder, and no catalog of Nautilus; name the files in it")
    return files


def _with_choice(recording: Recording, chosen: tuple[str, ...]) -> Recording:
    named = ",".join(chosen)
    match LOADERS[recording.format].traits.asks:
        case "":
            raise DataError(f"--instruments {named}: {recording.name} ({recording.format}) says itself what it is of")
        case "instrument" if len(chosen) > 1:
            raise DataError(f"--instruments {named}: {recording.name} ({recording.format}) is of one instrument")
    return msgspec.structs.replace(recording, chosen=chosen)


__all__ = ["LOADERS", "Loader", "Recording", "Traits", "detect", "mapped_recording", "recordings", "traits"]
