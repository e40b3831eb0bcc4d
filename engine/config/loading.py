"""Reading a configuration, strictly, and changing keys of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAliasType, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from engine.config.sections import Config
from market.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's floats: `1e-4` is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def load(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply overrides of the form `key.key=value`.

    Without a path, `config.yaml` of the current folder is read if there is one.

    Raises
    ------
    ConfigError
        Unknown key, wrong type or impossible value, with file and key.

    """
    source = path or Path("config.yaml")
    tree: object = {}
    if path is not None or source.exists():
        try:
            tree = yaml.load(source.read_text(), _Loader) or {}
        except OSError as error:
            raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: not valid YAML: {_in_a_line(error)}") from error
        if not isinstance(tree, dict):
            raise ConfigError(f"{source}: expected keys and values at the top")
    return apply(_decode(tree, str(source)), overrides)


def apply(config: Config, overrides: Sequence[str]) -> Config:
    """The configuration with overrides of the form `key.key=value`, as the command line gives them.

    Raises
    ------
    ConfigError
        Unknown key, wrong type or impossible value.

    """
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text}: expected key=value, e.g. --set strategy.ladder.levels=5")
        try:
            config = override(config, {key: yaml.load(value, _Loader)}, f"--set {text}")
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text}: not a YAML value: {_in_a_line(error)}") from error
    return config


def override(config: Config, changes: Mapping[str, object], source: str = "") -> Config:
    """The configuration with other values of some keys: the one way to change it, on the command line or in code.

    Parameters
    ----------
    config : Config
    changes : mapping
        Values by dotted key, e.g. `{"fees.scenario": "zero"}`.
    source : str, optional
        Who asks for it, for the sentence of an error.

    Raises
    ------
    ConfigError
        Unknown key, wrong type or impossible value.

    """
    source = source or ", ".join(f"{key}={value}" for key, value in changes.items())
    tree = msgspec.to_builtins(config)
    for key, value in changes.items():
        _assign(tree, key.split("."), value, source)
    return _decode(tree, source)


def type_of(key: str) -> Any:
    """The type of a dotted key, as the configuration declares it.

    Raises
    ------
    KeyError
        There is no such key.

    """
    found: Any = Config
    for name in key.split("."):
        found = get_type_hints(found, include_extras=True)[name]
        while isinstance(found, TypeAliasType):
            found = found.__value__
    return found


def examples_of(kind: Any) -> list[str]:
    """What a type says by examples: where it has a pattern, all that may be written."""
    metas = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return [str(example) for meta in metas if isinstance(meta, Meta) for example in meta.examples or ()]


def problem_of(error: msgspec.ValidationError, key: str) -> str:
    """What is wrong with the value of a key; where it meets no pattern, what the pattern stands for."""
    text = str(error).partition(" - at `$")[0]
    if "matching regex" in text and (examples := examples_of(type_of(key))):
        return f"expected one of {', '.join(examples)}"
    return text[0].lower() + text[1:]


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _decode(tree: object, source: str) -> Config:
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        key = str(error).partition(" - at `$")[2].strip("`").lstrip(".") or "top"
        raise ConfigError(f"{source}: key {key}: {problem_of(error, key)}") from error


def _assign(tree: dict[str, Any], keys: list[str], value: object, source: str) -> None:
    for key in keys[:-1]:
        child = tree.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{source}: {key} is not a group of keys")
        tree = child
    tree[keys[-1]] = value
