"""Data that are refused in one line."""

from __future__ import annotations

import pytest

from probes import InputError
from probes.data.dataset import load_data


def refused(spec: object, *parts: str, examples: int | None = None) -> None:
    """Assert that the spec is refused in one line that has ``parts``."""
    with pytest.raises(InputError) as caught:
        load_data(str(spec), examples=examples)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
