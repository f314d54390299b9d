"""``--config``: a command's options from a TOML file, which those on the command line override."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from probes.errors import InputError

__all__ = ["CONFIG"]

_OF_THE_CALL = ("config", "as_json", "dry")
"""Options that say what to do, not what to measure."""


def _read(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    """Take the file's values for the defaults of all other options.

    Raises:
        InputError: it cannot be read, or says what the command does not know.
    """
    if path is None:
        return
    from probes.runs.config import read_config

    known = {one.name: one for one in context.command.params if one.name and one.name not in _OF_THE_CALL}
    given = {key.replace("-", "_"): value for key, value in read_config(path).items()}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise InputError(f"{path}: there is no setting {key[:80]}; {hint}")
    context.default_map = {key: _checked(path, known[key], value, context) for key, value in given.items()}


def _checked(path: Path, option: click.Parameter, value: Any, context: click.Context) -> Any:
    """A value, if it is one that the option can have.

    Raises:
        InputError: it is not.
    """
    many = option.multiple or option.nargs == -1 if isinstance(option, click.Option) else option.nargs == -1
    parts = value if many and isinstance(value, list) else [value]
    for part in parts:
        wanted = _wanted(option)
        if not _is(part, wanted) or (isinstance(part, str) and "\0" in part):
            raise InputError(f"{path}: {option.name}: must be {wanted}{' or a list of it' if many else ''}")
        try:
            option.type.convert(part, option, context)
        except click.BadParameter as error:
            raise InputError(f"{path}: {option.name}: {error.message}") from error
    return tuple(parts) if many else value if isinstance(value, bool | list) else str(value)


_KINDS: Mapping[str, tuple[type, ...]] = {
    "true or false": (bool,),
    "a whole number": (int,),
    "text or a list of numbers": (str, list),
    "text": (str,),
    "text or a whole number": (str, int),
}


def _wanted(option: click.Parameter) -> str:
    if isinstance(option, click.Option) and option.is_flag:
        return "true or false"
    if option.name in ("etas", "levels"):
        return "text or a list of numbers"
    if isinstance(option.type, type(click.INT)):
        return "a whole number"
    numbers = ("chunk", "etas_at_once", "curvature")
    return "text or a whole number" if option.name in numbers else "text"


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, list):
        return wanted.endswith("list of numbers") and all(type(part) in (int, float) for part in value)
    return type(value) in _KINDS[wanted]


CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="A TOML file with any of the options, such as the run.toml in the results of another run; options that are"
    " given beside it override it.",
)
