"""``python -m studies.others NAME``: a network that others trained, written for ``probe run``."""

from __future__ import annotations

from pathlib import Path

import click

from probes.errors import InputError
from probes.system.terminal import say
from studies.others.catalogue import OTHERS, is_installed, write


@click.command()
@click.argument("name", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder for weights and data.  [default: NAME]"
)
@click.option("--examples", type=click.IntRange(2), help="How many.  [default: as in the study]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses the examples.")
def main(name: str | None, out: Path | None, examples: int | None, seed: int) -> None:
    """Write the network NAME and its data, and say the command that measures it; without NAME, list them."""
    if name is None:
        for key, other in OTHERS.items():
            there = "" if is_installed(key) else f"  (not installed: pip install --no-deps {other.install})"
            say(f"{key:20}{other.title}, {other.task}{there}")
        return
    try:
        written = write(name, out or Path(name), examples=examples, seed=seed)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    say(written.command)


if __name__ == "__main__":
    main(prog_name="python -m studies.others")
