"""What descriptions of networks have in common: what is asked of them, and how one from a file is checked."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol, Self

from probes.errors import InputError

__all__ = ["LARGEST_WIDTH", "MOST_LAYERS", "Description", "NetworkSpec", "check_size", "check_sizes"]


LARGEST_WIDTH = 65_536
MOST_LAYERS = 1024
"""Limits that a description is held to, because even a module without memory takes time to build."""


class NetworkSpec(Protocol):
    """What training and probing need to know of a network, whatever its kind."""

    @property
    def depth(self) -> int:
        """Weight layers that data pass through one after another."""

    @property
    def residual(self) -> bool:
        """Whether layers add their input."""

    @property
    def norm(self) -> str:
        """``none``, ``batch`` or ``layer``."""

    @property
    def inputs(self) -> int:
        """Numbers an example has; the longest sequence where these are characters."""

    @property
    def outputs(self) -> int:
        """Outputs an example, or a character."""

    @property
    def vocabulary(self) -> int | None:
        """How many different characters there are; None where inputs are real numbers."""

    @property
    def widest(self) -> int:
        """Numbers in the largest hidden layer of one example."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping."""


class Description:
    """Reading and writing of a description: its fields and its kind, nothing more and nothing less."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping that :meth:`from_json` reads back."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: it is not a description of this kind, or one of no possible network.
        """
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if not isinstance(content, Mapping) or set(content) != known | {"kind"}:
            raise InputError(f"the checkpoint's description of its network is damaged (not a {cls.kind})")
        if content["kind"] != cls.kind:
            raise InputError(f"unknown kind of network {reprlib.repr(content['kind'])}")
        values = {name: content[name] for name in known}
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def check_size(name: str, value: Any, most: int) -> None:
    """Refuse what is no whole number from 1 to ``most``.

    Raises:
        InputError: it names the size.
    """
    if type(value) is not int or not 1 <= value <= most:
        raise InputError(
            f"a network's {name} must be a whole number from 1 to {most}, got {reprlib.repr(value)}"
        )


def check_sizes(name: str, values: Any, most: int) -> None:
    """Refuse what is no tuple of such numbers.

    Raises:
        InputError: it names the sizes.
    """
    if not isinstance(values, tuple) or not 1 <= len(values) <= MOST_LAYERS:
        raise InputError(f"a network's {name} must be 1 to {MOST_LAYERS} numbers, got {reprlib.repr(values)}")
    for value in values:
        check_size(name, value, most)
