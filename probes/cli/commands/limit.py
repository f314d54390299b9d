"""``probe limit``: how large a step may be, by the theory and by search."""

from __future__ import annotations

from typing import Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import MEASURE, SOURCE, setting, settings_of, source_of
from probes.cli.sharing import share_of
from probes.errors import InputError
from probes.system.terminal import say


@click.command()
@SOURCE
@MEASURE
@setting(
    "pattern",
    "Examples whose mean loss's step is certified, for chains of ReLU, leaky ReLU or linear layers, residual ones too.",
)
@JSON
def limit(checkpoints: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Lemma 2's, the calibrated, the curvature's, the predicted and the measured step limit of each CHECKPOINT.

    The predicted one takes two gradients and a few losses, reads nothing of the others, and its loss was evaluated
    and is below the start; the measured one is the first return of the loss that was found. With --pattern N there is
    a certified one too: up to it the mean loss of the first N examples provably stays below its start.
    """
    import numpy as np

    from analysis import step_limits, summarise
    from analysis.documents import limit_rows
    from analysis.start import chance_lines, start_table
    from analysis.tables import limits_table
    from analysis.wording import constant_lines, noise_line
    from probes.cli.tables import plain
    from probes.runs.run import measure
    from trust.measurements import SMALL_ETA

    with share_of(options["device"]) as share:
        if options["direction"] == "adversarial":
            raise InputError(
                "--direction adversarial: has no step limit, since every eta has a step of its own"
            )
        # where C is read off; in coarser layers that may be rounding, and the smallest η above serves
        etas = np.array([0.0, SMALL_ETA, *([] if options["precision"] == "full" else [1e-2])])
        settings = settings_of(options, etas=etas, samples=1, curvature=False, ladder=False, split="none")
        source = source_of(checkpoints, options)
        measurements = measure(source, settings, what="limits", share=share)
    if share.rank > 0:
        return
    limits = step_limits(measurements)
    for line in [*chance_lines(measurements), *constant_lines(summarise(measurements))]:
        say(f"WARNING: {line}", err=True)
    if as_json:
        print_json(limit_rows(measurements, limits))
        return
    say(plain(start_table(measurements)))
    say(plain(limits_table(limits)))
    if options["precision"] != "full":
        say(noise_line(measurements))
