"""What is said to the user: all text for the terminal goes through here, and none of it stops the work."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

import click

from probes.errors import InputError, shown

__all__ = ["has_terminal", "open_streams", "say", "stop_saying"]

_STREAMS = ("stdin", "stdout", "stderr")
_PLAIN = str.maketrans({"─": "-", "–": "-", "—": "-", "−": "-", "×": "x", "…": "."})


def say(text: str = "", *, err: bool = False, bold: bool = False) -> None:
    """Say a line, or several: names and descriptions in them cannot command the terminal.

    What an encoding lacks is written as Python escapes it. On standard error nothing that goes wrong matters.

    Args:
        text: without the end of its last line.
        err: on standard error, where progress and warnings go.
        bold: on a terminal, as a heading.

    Raises:
        InputError: standard output does not take it.
        BrokenPipeError: whoever read it has gone.
    """
    stream: TextIO | None = sys.stderr if err else sys.stdout
    if stream is None:
        return
    text = _encodable(shown(text), stream)
    try:
        click.echo(click.style(text, bold=True) if bold else text, file=stream)
    except (OSError, ValueError) as error:
        if err:
            return
        if isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"standard output cannot be written ({reason}); what is in files by now is whole"
        ) from error


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def has_terminal() -> bool:
    """Whether standard error is a terminal, where progress can be shown."""
    return sys.stderr is not None and sys.stderr.isatty()


def open_streams() -> None:
    """See that standard input, output and error are there, for a whole process, before it opens any file.

    Where one is closed, the next file that is opened would take its number, and what is said would go into it.
    """
    for number, name in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the smallest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # another's stream in its place
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def stop_saying() -> None:
    """Let go of what standard output did not take, at which the end of the process would stumble."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
