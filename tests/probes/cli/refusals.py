"""Commands that end in one line."""

from __future__ import annotations

from typing import Any


def one_line(result: Any, *parts: str) -> None:
    """Assert the one clear line."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in lines[0], lines[0]
