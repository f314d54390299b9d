"""``probe run``: the slice of every checkpoint, measured into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.choices import CHOICES
from probes.cli.config import CONFIG
from probes.cli.documents import JSON, print_json
from probes.cli.options import CURVATURE, MEASURE, OUT, SOURCE, choice, setting, settings_of, source_of
from probes.cli.sharing import share_of
from probes.cli.tables import WIDE, room
from probes.system.terminal import say

if TYPE_CHECKING:
    from probes.checkpoints.order import TrainingOrder
    from probes.measures.settings import SliceSettings


@click.command()
@CONFIG
@SOURCE
@setting(
    "etas",
    "Grid of perturbation strengths: log (0 and 20 from 1e-4 to 1), paper (0, 0.001, …, 0.099), a:b:n,"
    " or a comma list. 0 and 1e-4, where constants are read off, are always included.",
    type=click.UNPROCESSED,  # text, or numbers from a file
)
@MEASURE
@setting(
    "levels",
    "Instead of etas, of the directions quantize (bits, falling), prune and filter-noise (percent, rising), with commas"
    " between them [default: 16 to 2, 10 to 90, 1 to 100].",
    type=click.UNPROCESSED,  # text, or numbers from a file
    show_default=False,
)
@setting("granularity", "What quantize has one scale for.")
@setting(
    "layers",
    "Whose gradients are measured: all, first, or a glob over parameter names. --perturb says which move.",
)
@setting("samples", "Examples whose output change is kept.")
@setting("jacobian", "Examples whose layer-to-output Jacobians are measured.")
@setting(
    "pattern",
    "Examples whose output is bounded by which units are active, whose labels are certified and whose loss's step is:"
    " for chains of ReLU, leaky ReLU or linear layers, residual ones too. Takes a singular value an example, eta and"
    " layer.",
)
@setting(
    "alignment",
    "Examples at which the alignment of neighbouring layers' Jacobians is measured: for chains of layers, residual"
    " blocks being layers too.",
)
@setting(
    "spectra",
    "Singular values of the frozen weights and direction, of the perturbed weights too, or none (fast).",
)
@setting(
    "split",
    "Take the gradient's change apart, into that of the Jacobians and that of the loss's residuals: at eta = 1e-4,"
    " along the whole slice (two more passes over the data an eta), or not at all.",
)
@setting("split_examples", "Examples that the split looks at one by one.")
@setting("limit", "Search for the measured step limit.")
@CURVATURE
@setting("spot_check", "Check a few examples' gradients at up to three eta in float64.")
@setting("ladder", "Measure on the sampled examples what the bounds on the output are made of.")
@setting(
    "measure",
    "What is measured at each eta: a measure's name, or path/to/file.py:Name of your own; default is what the other"
    " options ask for. Give it again for more; what is named replaces the default set unless default is named too.",
)
@click.option(
    "--shard",
    type=choice(CHOICES["shard"]),
    default="data",
    show_default=True,
    help="How the processes of torchrun --nproc-per-node=N -m probes run … divide the work: each takes a part of the"
    " examples of every checkpoint, or whole checkpoints. One process alone does all.",
)
@setting(
    "objective",
    "What --direction adversarial maximises: the mean relative output change of the sampled examples, or the"
    " first layer's gradient breakdown.",
)
@setting("ascent_steps", "Points that each adversarial ascent tries.")
@setting("restarts", "Adversarial ascents that start from noise.")
@click.option(
    "--dry-run",
    "dry",
    is_flag=True,
    help="Read and check everything, say what would be done and about how long it takes; write nothing.",
)
@OUT
@WIDE
@JSON
def run(
    checkpoints: tuple[str, ...],
    out: Path,
    wide: bool,
    as_json: bool,
    shard: str,
    dry: bool,
    **options: Any,
) -> None:
    """Measure the slice of each CHECKPOINT (files, or folders of them in training order).

    What is measured is kept checkpoint by checkpoint; the same command continues an interrupted run.
    """
    from probes.cli.dry_run import dry_run
    from probes.runs.folder import slice_files
    from probes.runs.history import copy_history
    from probes.runs.run import measure_run

    orders: list[TrainingOrder] = []
    before = len(slice_files(out))
    with share_of(options["device"]) as share:
        settings = settings_of(options)
        source = source_of(checkpoints, options)
        if dry:
            if share.rank == 0:
                found = dry_run(source, settings, out)
                if as_json:
                    print_json(found.to_json())
                else:
                    say("\n".join(found.lines()))
            return
        measure_run(source, out, settings=settings, order=orders.append, share=share, shard=shard)
    if share.rank > 0:
        return
    copy_history(checkpoints, out)
    _say_what_was_measured(out, orders[0], before, settings, wide=wide, as_json=as_json)


def _say_what_was_measured(
    out: Path, order: TrainingOrder, before: int, settings: SliceSettings, *, wide: bool, as_json: bool
) -> None:
    from analysis import check_measurements
    from analysis.documents import start_rows
    from analysis.start import chance_lines, start_table
    from probes.cli.reports import noise_lines, self_check_lines
    from probes.cli.tables import plain
    from probes.runs.results import load
    from trust.measurements import PATTERN_BOUND, WHOLE_JACOBIAN_ALIGNMENT

    measurements = load(out)
    checks = check_measurements(measurements)
    for line in chance_lines(measurements):
        say(f"WARNING: {line}", err=True)
    if settings.alignment > 0 and WHOLE_JACOBIAN_ALIGNMENT not in measurements:
        why = measurements.attrs.get("structure_unknown") or "a weight is used twice, or a step is not known"
        say(
            f"probe: --alignment {settings.alignment} has no meaning for this network and loss, and was left out: it"
            f" takes a chain of layers on one input of real numbers, and a loss of (outputs, targets) ({why})",
            err=True,
        )
    if settings.pattern > 0 and PATTERN_BOUND not in measurements:
        say(
            f"probe: --pattern {settings.pattern} has no meaning for this network and loss, and was left out: it"
            " takes a chain of ReLU, leaky ReLU or linear layers, residual ones too, and a loss of (outputs, targets)",
            err=True,
        )
    if as_json:
        print_json(
            {
                "results": str(out),
                "checkpoints": [str(label) for label in measurements["checkpoint"].values],
                "measured_before": before,
                "start": start_rows(measurements),
                "checks": [
                    {"check": one.check, "checkpoint": one.checkpoint, "outcome": one.outcome.value}
                    for one in checks
                ],
            }
        )
        return
    if len(order.paths) > 1:
        say("\n".join(order.lines()))
    width = room(wide=wide)
    say(plain(start_table(measurements), width))
    say(self_check_lines(checks, width))
    say("\n".join(noise_lines(measurements, width)))
    say(f"{_counted(measurements.sizes['checkpoint'], before, out)}; next: probe report {out}")


def _counted(checkpoints: int, before: int, out: Path) -> str:
    """How many were measured, and whether this run had anything left to do."""
    several = f"{checkpoints} checkpoint{'s' * (checkpoints != 1)}"
    if before == checkpoints:
        return f"nothing was left to do, {out} holds {several} measured before"
    return f"{several} measured into {out}" + (f", {before} of them before" if before else "")
