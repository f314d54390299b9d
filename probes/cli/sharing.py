"""The part of the work that is this process's, where torchrun started several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from probes.cli.spelling import spelled
from probes.system import terminal

if TYPE_CHECKING:
    from probes.system.processes import Share

__all__ = ["share_of"]


@contextmanager
def share_of(device: str) -> Iterator[Share]:
    """This process's share, on ``device``; errors of any process end all, and are said once."""
    from probes.system.processes import from_environment

    context = click.get_current_context()

    def say(line: str) -> None:
        with context.scope(cleanup=False):  # another thread may say it
            terminal.say(f"probe: {spelled(line)}", err=True)

    debug = context.find_root().params["debug"]
    with from_environment(device, say=say, debug=debug) as share:
        yield share
