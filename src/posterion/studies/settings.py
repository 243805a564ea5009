"""The settings of a study: fields of a dataclass, options of the command line."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from posterion.core.errors import SettingError

__all__ = ["describe_settings", "make_settings", "parse_options", "setting"]

T = TypeVar("T")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def setting(default: Any, help: str) -> Any:
    """A field of a study's settings.

    Args:
        default: its value unless asked otherwise.
        help: what it does, in one line.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     ordering: Literal["NO", "IO"] = setting("NO", "mass ordering")
    ...     release: tuple[str, ...] = setting(("5.3",), "releases of the tables")
    >>> make_settings(Settings, [("ordering", "IO"), ("release", "5.2"), ("release", "5.3")])
    Settings(ordering='IO', release=('5.2', '5.3'))
    """
    return dataclasses.field(default=default, metadata={"help": help})


def make_settings(cls: type[T], pairs: Iterable[tuple[str, str]]) -> T:
    """Build the settings from texts.

    Args:
        cls: a dataclass whose fields are of type bool, int, float, str, Path, Literal, one of these
            or None, or ``tuple[..., ...]`` of one of these.
        pairs: names and values; a tuple's name may come several times, another one's once.

    Raises:
        SettingError: an unknown name (the known ones and the nearest are listed), or a value that
            its field cannot take.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, text in pairs:
        name = _known_name(cls, key)
        kind = _item_type(hints[name])
        if kind is not None:
            values[name] = (*values.get(name, ()), _convert(name, kind, text))
        elif name in values:
            raise SettingError(f"the setting {name!r} is given twice")
        else:
            values[name] = _convert(name, hints[name], text)
    return cls(**values)


def parse_options(cls: type[Any], arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Read ``--name value``, ``--name=value``, ``--flag``, ``--flag false`` and ``--no-flag``.

    A tuple takes all values up to the next option. A name may be written with hyphens.

    Raises:
        SettingError: an unknown name, a missing value, or a value without a name.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     release: tuple[str, ...] = ()
    ...     fast: bool = False
    >>> parse_options(Settings, ["--release", "5.2", "5.3", "--fast"])
    [('release', '5.2'), ('release', '5.3'), ('fast', 'true')]
    >>> parse_options(Settings, ["--fast", "no", "--no-fast"])
    [('fast', 'no'), ('fast', 'false')]
    """
    hints = typing.get_type_hints(cls)
    pairs: list[tuple[str, str]] = []
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        if not option.startswith("--") or option == "--":
            raise SettingError(f"{option!r} belongs to no option; write --name value")
        key, equals, text = option[2:].partition("=")
        plain = key.removeprefix("no-").replace("-", "_")
        negated = key.startswith("no-") and hints.get(plain) is bool
        name = _known_name(cls, plain if negated else key)
        if equals:
            pairs.append((name, text))
        elif hints[name] is bool:
            word = "" if negated or not rest else rest[0].casefold()
            told = rest.pop(0) if word in (*_TRUE, *_FALSE) else ("false" if negated else "true")
            pairs.append((name, told))
        else:
            several = _item_type(hints[name]) is not None
            values = []
            while rest and not rest[0].startswith("--") and (several or not values):
                values.append(rest.pop(0))
            if not values:
                raise SettingError(f"the option --{key} needs a value")
            pairs += [(name, value) for value in values]
    return pairs


def describe_settings(cls: type[Any]) -> str:
    """One line for each setting: its option, its values, what it does, its default."""
    hints = typing.get_type_hints(cls)
    rows = [
        (
            f"--{field.name.replace('_', '-')}",
            _values(hints[field.name]),
            field.metadata.get("help", ""),
            _default(field),
        )
        for field in dataclasses.fields(cls)
    ]
    if not rows:
        return "no settings of its own"
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "\n".join(
        f"{option:<{widths[0]}}  {values:<{widths[1]}}  {help} [{default}]".rstrip()
        for option, values, help, default in rows
    )


def _known_name(cls: type[Any], key: str) -> str:
    name = key.replace("-", "_")
    known = [field.name for field in dataclasses.fields(cls)]
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    question = f" Did you mean {near[0]!r}?" if near else ""
    raise SettingError(
        f"there is no setting {key!r}.{question} Known: {', '.join(known) or 'none'}"
    )


def _item_type(hint: Any) -> Any:
    """The type of a tuple's items, None for anything else."""
    arguments = typing.get_args(hint)
    return arguments[0] if typing.get_origin(hint) is tuple and arguments else None


def _convert(name: str, hint: Any, text: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        choices = typing.get_args(hint)
        if type(None) in choices and text.casefold() in ("none", ""):
            return None
        for choice in choices:
            if choice is not type(None):
                try:
                    return _convert(name, choice, text)
                except SettingError:
                    continue
    elif origin is Literal:
        for choice in typing.get_args(hint):
            if str(choice).casefold() == text.casefold():
                return choice
    elif hint is bool:
        if text.casefold() in (*_TRUE, *_FALSE):
            return text.casefold() in _TRUE
    elif hint is Path:
        return Path(text).expanduser()
    else:
        try:
            return _number(hint, text)
        except ValueError:
            pass
    raise SettingError(f"the setting {name!r} cannot be {text!r}; it takes {_values(hint)}")


def _number(hint: Any, text: str) -> Any:
    if hint is int and any(c in text for c in ".eE"):  # 1e5
        number = float(text)
        if not number.is_integer():
            raise ValueError(text)
        return int(number)
    return hint(text)


def _values(hint: Any) -> str:
    item = _item_type(hint)
    if item is not None:
        return f"{_values(item)} ..."
    if typing.get_origin(hint) is Literal:
        return "|".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (Union, types.UnionType):
        return "|".join(_values(choice) for choice in typing.get_args(hint))
    if hint is bool:
        return "true|false"
    return "none" if hint is type(None) else hint.__name__.upper()


def _default(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return "needed"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return str(default).lower() if isinstance(default, bool | None) else str(default)
