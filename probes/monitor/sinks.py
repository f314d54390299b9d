"""Where a monitor's records go: a JSON Lines file of ours, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

from probes.errors import InputError
from probes.system.files import make_folder, refuse_irregular, writing_errors

__all__ = ["INFINITE", "NO_NUMBER", "Log", "Record", "Sink", "sinks_of"]

INFINITE, NO_NUMBER = "infinite", "not a number"

Record: TypeAlias = Mapping[str, Any]
"""What is known of one step: words, numbers that may not be finite, and mappings of names to these."""

Log: TypeAlias = str | os.PathLike[str] | Any
"""The name of a file, or an object with ``add_scalar`` (TensorBoard) or ``log`` (Weights & Biases)."""


class Sink(Protocol):
    """What takes records."""

    def write(self, step: int, record: Record) -> None:
        """Keep a record of a step."""

    def close(self) -> None:
        """Give back what only this sink uses."""


class JsonLines:
    """A line of JSON a record, handed to the system whole, so that a killed training leaves whole lines.

    A number that is not finite is null, and beside it ``words`` says what it is. A file that is there is continued.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make its folder; half a line that a crash of the system left at its end is cut off.

        Raises:
            InputError: it cannot be written.
        """
        refuse_irregular(path)
        if path.parent != Path():
            make_folder(path.parent)
        with writing_errors(path, remedy="name another `log`"):
            self._stream = path.open("ab+", buffering=0)
            self._stream.truncate(_whole(self._stream))

    def write(self, step: int, record: Record) -> None:
        """See the class."""
        words: dict[str, str] = {}
        line = {"step": step, **_plain(record, words)}
        if words:
            line["words"] = words
        self._stream.write((json.dumps(line, allow_nan=False) + "\n").encode())

    def close(self) -> None:
        """See the class."""
        self._stream.close()


_BLOCK = 1 << 16


def _whole(stream: IO[bytes]) -> int:
    """Where the last whole line of a file ends."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        start = max(end - _BLOCK, 0)
        stream.seek(start)
        newline = stream.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _plain(record: Record, words: dict[str, str]) -> dict[str, Any]:
    """As JSON has it; what null stands for is added to ``words`` by the innermost name."""
    plain: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            plain[name] = _plain(value, words)
        elif isinstance(value, float) and not math.isfinite(value):
            plain[name] = None
            words[name] = NO_NUMBER if math.isnan(value) else INFINITE
        else:
            plain[name] = value
    return plain


class Scalars:
    """TensorBoard: ``add_scalar(name, number, step)`` for each number."""

    def __init__(self, writer: Any) -> None:
        """Take a SummaryWriter, or what is called like one; it stays its maker's to close."""
        self._writer = writer

    def write(self, step: int, record: Record) -> None:
        """See the class."""
        for name, value in _flat(record):
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Nothing is ours."""


class Runs:
    """Weights & Biases: ``log(numbers, step=step)``."""

    def __init__(self, run: Any) -> None:
        """Take a run, or what is called like one; it stays its maker's to finish."""
        self._run = run

    def write(self, step: int, record: Record) -> None:
        """See the class."""
        numbers = dict(_flat(record))
        if numbers:
            self._run.log(numbers, step=step)

    def close(self) -> None:
        """Nothing is ours."""


def _flat(record: Record, before: str = "") -> Iterator[tuple[str, float]]:
    """Every number by its path of names."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{name}", float(value)


def sinks_of(log: Log | Iterable[Log]) -> list[Sink]:
    """A sink for each.

    Raises:
        InputError: one can be written to by none.
    """
    if isinstance(log, list | tuple):
        return [sink for one in log for sink in sinks_of(one)]
    if isinstance(log, str | os.PathLike):
        return [JsonLines(Path(log))]
    for method, kind in (("add_scalar", Scalars), ("log", Runs)):
        if callable(getattr(log, method, None)):
            return [kind(log)]
    raise InputError(
        f"`log`: is a {type(log).__name__}; give a file's name, a TensorBoard SummaryWriter, a Weights & Biases run, or"
        " a list of these"
    )
