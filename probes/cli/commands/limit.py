"""``probe limit``: how large a step may be, by the theory and by search."""

from __future__ import annotations

from typing import Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CURVATURE, MEASURE, SOURCE, setting, settings_of, source_of
from probes.cli.sharing import share_of
from probes.cli.tables import WIDE, room
from probes.system.terminal import say


@click.command()
@SOURCE
@MEASURE
@setting(
    "pattern",
    "Examples whose mean loss's step is certified, for chains of ReLU, leaky ReLU or linear layers, residual ones too.",
)
@CURVATURE
@WIDE
@JSON
def limit(checkpoints: tuple[str, ...], wide: bool, as_json: bool, **options: Any) -> None:
    """Lemma 2's, the calibrated, the curvature's, the predicted and the measured step limit of each CHECKPOINT.

    The predicted one takes two gradients and a few losses, reads nothing of the others, and its loss was evaluated
    and is below the start; the measured one is the first return of the loss that was found. With --pattern N there is
    a certified one too: up to it the mean loss of the first N examples provably stays below its start. With
    --curvature K the critical learning rate and the sharpness stand beside them.
    """
    from analysis import curvature_summary, step_limits, summarise
    from analysis.documents import curvature_rows, limit_rows
    from analysis.start import chance_lines, start_table
    from analysis.wording import constant_lines
    from probes.cli.reports import curvature_shown, limits_shown, noise_lines
    from probes.cli.spelling import spelled
    from probes.cli.tables import plain
    from probes.limits import measure_limits

    with share_of(options["device"]) as share:
        settings = settings_of(options, samples=1)
        measurements = measure_limits(source_of(checkpoints, options), settings=settings, share=share)
    if share.rank > 0:
        return
    limits, curvature = step_limits(measurements), curvature_summary(measurements)
    for line in [*chance_lines(measurements), *constant_lines(summarise(measurements))]:
        say(f"WARNING: {spelled(line)}", err=True)
    if as_json:
        rows = limit_rows(measurements, limits)
        sharpness = [] if curvature is None else curvature_rows(curvature)
        print_json(
            [row | {"sharpness": sharp} for row, sharp in zip(rows, sharpness, strict=True)]
            if sharpness
            else rows
        )
        return
    say(plain(start_table(measurements), room(wide=wide)))
    say(limits_shown(limits, room(wide=wide)))
    if curvature is not None:
        say(curvature_shown(curvature, room(wide=wide)))
    if options["precision"] != "full":
        say("\n".join(noise_lines(measurements, room(wide=wide))))
