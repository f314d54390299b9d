"""A command as a shell takes it, for pages that say how to run a study again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

__all__ = ["command_line"]


def command_line(words: Sequence[str], options: Mapping[str, object]) -> str:
    """A command as a shell takes it.

    Args:
        words: it begins with.
        options: by their names, without dashes; those that are None are left out.
    """
    given = {name: str(value) for name, value in options.items() if value is not None}
    return shlex.join([*words, *(part for name, value in given.items() for part in (f"--{name}", value))])
