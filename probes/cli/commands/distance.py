"""``probe distance``: deep relative trust between two checkpoints, or from each of a folder to the next."""

from __future__ import annotations

from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import IGNORE, KEY
from probes.cli.tables import WIDE, room
from probes.system.terminal import say


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path), required=False)
@KEY
@IGNORE
@WIDE
@JSON
def distance(
    before: Path,
    after: Path | None,
    key: str | None,
    ignore_tensors: tuple[str, ...],
    wide: bool,
    as_json: bool,
) -> None:
    """Deep relative trust between two checkpoints: in all, and each weight matrix's relative change.

    With a folder of checkpoints alone: from each to the next, in training order.
    """
    from analysis.wording import number
    from probes.checkpoints.distance import distance as measured
    from probes.cli.tables import plain

    found = measured(before, after, key=key, ignore_tensors=ignore_tensors)
    if as_json:
        print_json(found)
        return
    if after is None:
        rows = [["from", "to", "∏(1 + r) − 1", "largest ‖ΔW‖/‖W‖", "of"]]
        for step in found["steps"]:
            most = max(step["layers"], key=lambda layer: layer["relative"])
            cells = (number(step["distance"], 6), number(most["relative"]), most["name"])
            rows.append([Path(step["before"]).name, Path(step["after"]).name, *cells])
        say(plain(rows))
        return
    rows = [["weight matrix", "‖ΔW‖/‖W‖"]]
    rows += [[layer["name"], number(layer["relative"])] for layer in found["layers"]]
    say(plain(rows, room(wide=wide)))
    say(f"deep relative trust ∏(1 + r) − 1 = {number(found['distance'], 6)}")
