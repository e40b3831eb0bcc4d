"""Loaders by format; which one reads a file is found by the file's content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from market.errors import DataError, EmptyFileError
from venues.recordings.loaders.base import Loader, Recording, Traits, head, is_header_alone, members
from venues.recordings.loaders.binance import BinanceLoader
from venues.recordings.loaders.binance_archive import BinanceArchiveLoader
from venues.recordings.loaders.bitstamp import BitstampLoader
from venues.recordings.loaders.bybit import BybitLoader
from venues.recordings.loaders.coinbase import CoinbaseLoader
from venues.recordings.loaders.ctp import CtpLoader
from venues.recordings.loaders.databento import DatabentoLoader
from venues.recordings.loaders.lobster import LobsterLoader
from venues.recordings.loaders.mapped import MappingLoader, mapped_recording
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
    paths: Sequence[Path], format_name: str | None = None, empty: list[Path] | None = None
) -> list[Recording]:
    """Group files into recordings, each with its loader's name.

    Files without a row go into `empty`, where one is given: a day without trades is normal.
    """
    by_loader: dict[str, list[Path]] = {}
    for path in members(paths, empty):
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
    return [rec for name, files in by_loader.items() for rec in LOADERS[name].group(files)]


__all__ = ["LOADERS", "Loader", "Recording", "Traits", "detect", "mapped_recording", "recordings", "traits"]
