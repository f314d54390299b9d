"""Two vocabularies: the packages speak Python, ``chunk=0``, and the command shows its own options, ``--chunk 0``."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any

import click

__all__ = ["in_ticks", "spelled", "spelled_in"]

_MENTION = re.compile(r"`([A-Za-z_]+)(?:=([^`]*))?`")
"""A setting as :func:`probes.errors.mention` names it."""
_KNOWN = f"{__name__}.options"
_QUOTED = re.compile(r"[^\w*?:;/.,=+@%#~!^{}\[\]-]")
"""What a shell would take apart; globs are shown as they are."""


def spelled(text: str, *, ticks: bool = False) -> str:
    """``text`` with every setting that it mentions as the command's option.

    Args:
        text: a message or a page of the packages.
        ticks: whether options stay between backticks, as Markdown has code.
    """
    if "`" not in text:
        return text
    options = _options()
    tick = "`" if ticks else ""

    def as_option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        return tick + _option(options[name], value) + tick

    return _MENTION.sub(as_option, text)


def in_ticks(text: str) -> str:
    """``text`` as :func:`spelled`, with every option between backticks."""
    return spelled(text, ticks=True)


def spelled_in(document: Any) -> Any:
    """A JSON document with every text in it as :func:`spelled`."""
    if isinstance(document, str):
        return spelled(document)
    if isinstance(document, dict):
        return {key: spelled_in(value) for key, value in document.items()}
    return [spelled_in(value) for value in document] if isinstance(document, list) else document


def _options() -> dict[str, click.Parameter]:
    """What the commands take, by the names of settings in Python and by those of the options, found once a command."""
    context = click.get_current_context(silent=True)
    if context is None:  # somebody else's program calls what the command is made of
        return {}
    root = context.find_root()
    if _KNOWN not in root.meta:
        root.meta[_KNOWN] = dict(_options_of(root))
    found: dict[str, click.Parameter] = root.meta[_KNOWN]
    return found


def _options_of(root: click.Context) -> Iterator[tuple[str, click.Parameter]]:
    """The present command's last."""
    commands = root.command.commands if isinstance(root.command, click.Group) else {}
    for name in sorted(commands, key=lambda name: name == root.invoked_subcommand):
        for parameter in commands[name].params:
            for name in (parameter.name, parameter.human_readable_name, _longest(parameter)):
                if name:
                    yield name.removeprefix("--").replace("-", "_"), parameter


def _longest(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len, default="")


def _option(parameter: click.Parameter, value: str | None) -> str:
    """One option with its value, which is written as in Python."""
    name = parameter.human_readable_name if isinstance(parameter, click.Argument) else _longest(parameter)
    if value is None:
        return name
    try:
        given = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return f"{name} {value}"  # N, which stands for any number
    if isinstance(given, bool) and parameter.secondary_opts:
        return name if given else parameter.secondary_opts[0]
    if given is True:
        return name
    parts = given if isinstance(given, list | tuple) else [given]
    return f"{name} {','.join(map(_plain, parts))}"


def _plain(value: Any) -> str:
    """Text as it was typed, quoted where a shell wants that; as Python writes it where it cannot be shown."""
    text = str(value)
    if not text.isprintable():
        return repr(value)
    return shlex.quote(text) if _QUOTED.search(text) else text
