"""Calls that end in one line for the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint


def one_line(call: Callable[[], Any], *parts: str) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900, message
    assert message.isprintable(), ascii(message)
    for part in parts:
        assert part in message, message
    return message


def refused(path: Path, *parts: str) -> str:
    return one_line(lambda: read_checkpoint(path), str(path), *parts)


def message_of(call: Callable[[], Any]) -> str | None:
    """The one line of a refusal, if there is one."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None
