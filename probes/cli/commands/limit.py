"""``probe limit``: how large a step may be, by the theory and by search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CURVATURE, MEASURE, SOURCE, setting, settings_of, source_of
from probes.cli.sharing import share_of
from probes.cli.tables import WIDE, room
from probes.errors import InputError
from probes.system.terminal import say

if TYPE_CHECKING:
    import xarray as xr

    from probes.runs.source import Source
    from probes.system.processes import Share


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
    from trust.measurements import WITHOUT_LINE

    with share_of(options["device"]) as share:
        if options["direction"] in WITHOUT_LINE:
            raise InputError(
                f"--direction {options['direction']}: has no step limit, since every eta has a step of its own"
            )
        measurements = _measured(source_of(checkpoints, options), options, share)
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


def _measured(source: Source, options: Mapping[str, Any], share: Share) -> xr.Dataset:
    """What the limits are made of, at the one η where C is read off.

    Where rounding leaves no evidence there, C is that of a larger η, and all is measured on the grid of ``probe run``,
    so that both read it off at the same one.
    """
    import numpy as np

    from analysis.constants import constants_known
    from probes.measures.etas import parse_etas
    from probes.runs.run import measure
    from trust.measurements import SMALL_ETA

    for etas in (np.array([0.0, SMALL_ETA]), parse_etas("log")):
        settings = settings_of(
            options, etas=etas, samples=1, ladder=False, split="none", spot_check=len(etas) > 2
        )
        measurements = measure(source, settings, what="limits", share=share)
        if constants_known(measurements):
            break
    return measurements
