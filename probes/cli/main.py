"""The command ``probe``: what all its commands have in common, errors, signals and torchrun.

Heavy libraries are imported inside the commands, so that ``probe --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from probes.cli.commands.claims import claims
from probes.cli.commands.compare import compare
from probes.cli.commands.distance import distance
from probes.cli.commands.export import export
from probes.cli.commands.falsify import falsify
from probes.cli.commands.figure1 import figure1
from probes.cli.commands.layers import layers
from probes.cli.commands.limit import limit
from probes.cli.commands.playground import playground
from probes.cli.commands.report import report
from probes.cli.commands.run import run
from probes.cli.commands.study import study
from probes.cli.commands.train import train
from probes.cli.sharing import share_of
from probes.cli.spelling import spelled
from probes.errors import InputError, is_out_of_memory
from probes.system.garbage import look_seldom
from probes.system.signals import exit_status, farewell, interrupted, interruptible
from probes.system.terminal import open_streams, say, stop_saying

__all__ = ["main"]

_SHARED = (run, limit)
"""The commands whose work the processes of torchrun can share."""
_COMMANDS = (
    *_SHARED,
    layers,
    report,
    compare,
    figure1,
    study,
    train,
    distance,
    claims,
    falsify,
    export,
    playground,
)


class _Group(click.Group):
    """Turns bad input into one line and exit status 2, and signals into one line and 130 or 143."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Be the whole process."""
        open_streams()
        look_seldom()
        with interruptible():
            return super().__call__(*args, **kwargs)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As ever, but what is wrong with options is said like everything else, and so is a help that nobody takes."""
        call: Callable[..., Any] = super().main
        if not standalone_mode:
            return call(*args, standalone_mode=False, **extra)
        try:
            result = call(*args, standalone_mode=False, **extra)
            status = result if isinstance(result, int) else 0
        except click.ClickException as error:
            text = io.StringIO()
            error.show(text)
            say(text.getvalue().rstrip(), err=True)
            status = error.exit_code
        except click.Abort:
            status = 1
        except OSError as error:  # of the help, which is printed before there is a command
            status = _unread(error)
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return self._invoke(ctx)
        except InputError as error:
            if ctx.params.get("debug"):
                raise
            say(f"probe: {spelled(str(error))}", err=True)
            stop_saying()
            ctx.exit(2)
        except BrokenPipeError as error:
            ctx.exit(_unread(error))
        except KeyboardInterrupt:
            farewell()
            ctx.exit(exit_status())
        except (MemoryError, OSError, RuntimeError) as error:
            if ctx.params.get("debug") or (isinstance(error, RuntimeError) and not is_out_of_memory(error)):
                raise
            say(f"probe: {InputError(f'{type(error).__name__}: {error}')}", err=True)
            ctx.exit(2)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if interrupted():  # some library made another error of it
                raise KeyboardInterrupt from error
            raise


def _unread(error: OSError) -> int:
    """Say that standard output was not taken, unless whoever read it has simply gone; the exit status."""
    stop_saying()
    if isinstance(error, BrokenPipeError):
        return 0
    say(f"probe: standard output cannot be written ({error.strerror or error})", err=True)
    return 2


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="deep-relative-trust", prog_name="probe")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """Measure how neural networks break under relative perturbations, beside the bounds that say how they should.

    Freeze a trained network at its checkpoints, perturb every layer relatively along a direction, record loss and
    gradient breakdown (run), and put them beside the bounds, with a verdict on each claim (report).
    """
    command = context.invoked_subcommand
    if "LOCAL_RANK" in os.environ and command not in [shared.name for shared in _SHARED]:
        with share_of("cpu") as share:
            if share.size > 1:
                raise InputError(
                    f"probe {command}: processes share only probe run and probe limit; start it without torchrun"
                )


for _command in _COMMANDS:
    main.add_command(_command)
