"""What a browser and the playground say to each other: JSON that is checked, and frames of a few kilobytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probes.errors import InputError
from probes.playground.session import MOST_STEPS, Perturbation, Session
from probes.playground.setup import Setup
from probes.system.json_files import parse_json

__all__ = ["MOST_BYTES", "Request", "frame", "reply", "request"]

MOST_BYTES = 2 << 20
"""Of one message from a browser."""
MOST_AT_ONCE = 50
"""Steps between two frames."""


@dataclass(frozen=True)
class Request:
    """One thing that a browser asks for.

    Attributes:
        do: what, a key of :data:`_READERS`.
        value: with what; its type depends on ``do``.
    """

    do: str
    value: Any = field(default=None)


def request(text: str | bytes) -> Request:
    """Read what a browser sent.

    Raises:
        InputError: it is no request, in a line that says why.
    """
    try:
        content = parse_json(text)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"this message is no JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("do"), str):
        raise InputError('a message says what to do, such as {"do": "run"}')
    do, value = content["do"], content.get("value")
    if do not in _READERS:
        raise InputError(f"nothing is known of {do!r}; there are {', '.join(_READERS)}")
    return Request(do, _READERS[do](value))


def _nothing(value: Any) -> None:
    if value is not None:
        raise InputError("this request takes no value")


def _count(name: str, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise InputError(f"{name} must be a whole number from 0 to {most}")
        return value

    return read


def _perturbation(value: Any) -> Perturbation:
    if not isinstance(value, dict) or not isinstance(value.get("percent"), list):
        raise InputError("a perturbation has a list of percent, a direction and a seed")
    if set(value) - {"percent", "direction", "seed"}:
        raise InputError("a perturbation has percent, direction and seed, and nothing else")
    return Perturbation(**value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError("a CSV is text")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InputError("a file is sent in base64") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "setup": Setup.read,
    "run": _nothing,
    "pause": _nothing,
    "step": _nothing,
    "reset": _nothing,
    "go": _count("the steps to go to", MOST_STEPS),
    "speed": _count("the steps between two frames", MOST_AT_ONCE),
    "perturb": _perturbation,
    "csv": _text,
    "load": _bytes,
    "save": _nothing,
    "seen": _nothing,
}


def reply(kind: str, **content: Any) -> str:
    """What the playground says in words and numbers."""
    return json.dumps({"kind": kind, **content}, allow_nan=False)


def frame(session: Session, moved: Any, *, running: bool) -> bytes:
    """What a browser draws: a head in JSON, preceded by its length in four bytes, then maps of one byte a value.

    Args:
        session: as it stands.
        moved: its tensors as perturbed, or None.
        running: whether it trains.

    Returns:
        The maps are the output's, the perturbed output's where there is one, and every hidden neuron's, layer by layer.
    """
    loss, accuracy = session.loss_and_accuracy()
    maps = [session.boundary()]
    if moved is not None:
        maps.append(session.boundary(session.perturbed(moved)))
    neurons = session.neurons()
    head = {
        "kind": "frame",
        "steps": session.steps,
        "loss": loss if np.isfinite(loss) else None,
        "accuracy": accuracy,
        "perturbed": moved is not None,
        "running": running,
        "map": maps[0].shape[0],
        "neurons": [list(layer.shape) for layer in neurons],
    }
    text = json.dumps(head, allow_nan=False).encode()
    body = b"".join(part.tobytes() for part in (*maps, *neurons))
    return len(text).to_bytes(4, "little") + text + body
