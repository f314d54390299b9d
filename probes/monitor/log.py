"""A monitor's log, read back: whoever wrote it, it is a text with numbers in it, and never taken for more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probes.errors import InputError, shown
from probes.monitor.sinks import INFINITE
from probes.system.json_files import parse_json

__all__ = ["LIMITS", "read_log"]

LIMITS = (
    "lemma2",
    "calibrated",
    "curvature",
    "predicted",
    "measured",
    "constant",
    "cos_theta",
    "loss",
    "accuracy",
)
"""What is read of a measurement of limits."""

_LONGEST = 1 << 24
"""Bytes of a line."""
_MOST_LAYERS = 20_000
_MOST_RECORDS, _MOST_NUMBERS = 4_000, 500_000
"""So many records, and relative updates in all of them, are kept."""


class _Records:
    """Records in order; of very many every second, or fourth, and so on, and the last."""

    def __init__(self) -> None:
        self._kept: list[dict[str, Any]] = []
        self._last: dict[str, Any] | None = None
        self._count, self._stride = 0, 1

    def add(self, record: dict[str, Any], numbers: int) -> None:
        """Take up a record of so many numbers."""
        if self._count % self._stride == 0:
            self._kept.append(record)
        self._count, self._last = self._count + 1, record
        if len(self._kept) > min(_MOST_RECORDS, max(_MOST_NUMBERS // max(numbers, 1), 2)):
            self._kept = self._kept[::2]
            self._stride *= 2

    def forget(self, step: int) -> None:
        """Leave out what is of a step or later."""
        self._kept = [one for one in self._kept if one["step"] < step]
        self._last = None

    def by_step(self) -> list[dict[str, Any]]:
        """The last record of each step, in the steps' order."""
        every = [*self._kept, *([] if self._last is None else [self._last])]
        return [*{one["step"]: one for one in sorted(every, key=lambda one: one["step"])}.values()]


@dataclass
class _Read:
    """What is known so far."""

    updates: _Records = field(default_factory=_Records)
    limits: _Records = field(default_factory=_Records)
    about: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    cost: float = math.nan
    layers: dict[str, None] = field(default_factory=dict)


def read_log(path: str | PathLike[str]) -> xr.Dataset:
    """The records of a monitor's log.

    Where a training was continued from an earlier step, what the first one recorded from there on is left out. Of very
    many records every second is left out, as often as it takes.

    Returns:
        ``relative_update`` (step, layer) and ``deep_relative_trust`` (step); by ``limit_step`` what ``LIMITS``
        lists, as ``probe limit --json`` has it. NaN where there is no number, infinite where a matrix that was zero
        moved.
        Attributes: ``cost``, the share of the training's time that the monitor took; ``clock``, which one told it;
        ``monitor``, what wrote it; ``held``, on how many examples the limits were measured; ``closed``, how it ended,
        and ``failed``, what did, both empty where nothing says so.

    Raises:
        InputError: it is no log of a monitor, or damaged before its last line.
    """
    path = Path(path)
    read, fresh = _Read(), False
    for number, line in _lines(path):
        damaged = InputError(f"{path}: line {number} is none that a monitor writes; give a monitor's log")
        try:
            record = parse_json(line)
        except ValueError:
            raise damaged from None
        if not isinstance(record, dict) or (number == 1 and not isinstance(record.get("monitor"), str)):
            raise damaged
        if "monitor" in record:
            fresh = True
        try:
            fresh = _take(read, record, fresh)
        except (AttributeError, TypeError, ValueError, KeyError, OverflowError):
            raise damaged from None
    if not read.about:
        raise InputError(f"{path}: is empty; give a monitor's log")
    return _dataset(read)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their numbers; what follows the last end of a line was being written.

    Raises:
        InputError: it cannot be read, or a line is too long.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            while (line := stream.readline(_LONGEST + 1)).endswith(b"\n"):
                number += 1
                yield number, line
            if len(line) > _LONGEST:
                raise InputError(
                    f"{path}: line {number + 1} is none that a monitor writes; give a monitor's log"
                )
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); give a monitor's log"
        ) from error


def _take(read: _Read, record: Mapping[str, Any], fresh: bool) -> bool:
    """Take up a record.

    Returns:
        Whether the next one is still the first with numbers of its training.

    Raises:
        AttributeError, TypeError, ValueError, KeyError, OverflowError: no monitor writes it.
    """
    step = _step(record["step"])
    for name in ("monitor", "held", "clock", "closed"):
        if name in record:
            read.about[name] = _text(record[name])
    if "failed" in record:
        read.failed = [*read.failed, _text(record["failed"])][-10:]
    if record.get("monitor_cost") is not None:
        read.cost = _number(record["monitor_cost"])
    words = record.get("words", {})
    if not isinstance(words, dict):
        raise TypeError
    is_update, is_limit = "relative_update" in record, "limits" in record
    if fresh and (is_update or is_limit):
        fresh = False
        read.updates.forget(step)
        read.limits.forget(step)
        read.about.pop("closed", None)
    if is_update:
        layers = {
            _text(name): _number(value, words.get(name)) for name, value in record["relative_update"].items()
        }
        trust = _number(record["deep_relative_trust"], words.get("deep_relative_trust"))
        read.layers |= dict.fromkeys(layers)
        if len(read.layers) > _MOST_LAYERS:
            raise ValueError
        read.updates.add({"step": step, "layers": layers, "trust": trust}, len(read.layers))
    if is_limit:
        limits = {name: _number(record["limits"].get(name), words.get(name)) for name in LIMITS}
        read.limits.add({"step": step, **limits}, len(LIMITS))
    return fresh


def _dataset(read: _Read) -> xr.Dataset:
    updates, limits = read.updates.by_step(), read.limits.by_step()
    names = list(read.layers)
    relative = np.array(
        [[one["layers"].get(name, math.nan) for name in names] for one in updates], dtype=float
    ).reshape(len(updates), len(names))
    variables: dict[str, Any] = {
        "relative_update": (("step", "layer"), relative),
        "deep_relative_trust": ("step", np.array([one["trust"] for one in updates], dtype=float)),
    }
    variables |= {
        name: ("limit_step", np.array([one[name] for one in limits], dtype=float)) for name in LIMITS
    }
    coordinates = {
        "step": np.array([one["step"] for one in updates], dtype=np.int64),
        "layer": np.array(names, dtype=object).astype(str) if names else np.array([], dtype=str),
        "limit_step": np.array([one["step"] for one in limits], dtype=np.int64),
    }
    about = {"monitor": "", "held": "", "clock": "", "closed": "", **read.about}
    return xr.Dataset(variables, coordinates, {**about, "failed": "; ".join(read.failed), "cost": read.cost})


def _step(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 2000:
        raise TypeError
    return shown(value)


def _number(value: Any, word: Any = None) -> float:
    """A number; NaN or, where the word says so, infinity for null."""
    if value is None:
        return math.inf if word == INFINITE else math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)
