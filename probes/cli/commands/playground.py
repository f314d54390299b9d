"""``probe playground``: a page to touch."""

from __future__ import annotations

from importlib.util import find_spec

import click

from probes.errors import InputError


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on [default: a free one]."
)
@click.option("--no-browser", is_flag=True, help="Print the address alone, and open no browser.")
@click.option("--link", help="A link that the page gave: the same network at the same step, perturbed alike.")
def playground(port: int, no_browser: bool, link: str | None) -> None:
    """Open a page on which a small network learns, and is perturbed, before your eyes.

    It listens on this machine alone; whoever has the printed link can use it. Ctrl-C ends it.
    """
    missing = [name for name in ("starlette", "uvicorn", "websockets") if find_spec(name) is None]
    if missing:
        raise InputError(
            "the playground needs the extra [playground]; pip install 'deep-relative-trust[playground]'"
        )
    from probes.playground.opening import open_playground

    open_playground(port=port, browser=not no_browser, link=link)
