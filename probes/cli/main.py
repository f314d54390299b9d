"""The command ``probe``: options in, one call into the package, tables or one JSON document out.

Heavy libraries are imported inside the commands, so that ``probe --help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from probes.errors import InputError
from probes.system.signals import interrupted, interruptible, line, status

if TYPE_CHECKING:
    from probes.checkpoints.checkpoint import TrainingOrder
    from probes.runs.source import Source
    from probes.slices.slice import SliceSettings
    from probes.system.processes import Share

F = TypeVar("F", bound=Callable[..., Any])

_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output, nothing else."
)
_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")

_CLAIMS = click.option(
    "--claim",
    "user_claims",
    multiple=True,
    help="A claim of your own, path/to/file.py:name; give it again for more than one.",
)

_FORMAT = click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["png", "pdf", "svg"]),
    default=("png", "pdf"),
    show_default=True,
    help="Figure formats; give it again for more than one.",
)


_SHARED = ("run", "limit")
"""The commands whose work the processes of torchrun can share."""


def _ran_out(error: RuntimeError) -> bool:
    """Whether a library says in its own way that memory ran out, where chunks could not be halved."""
    from probes.evaluation.chunks import is_out_of_memory

    return is_out_of_memory(error)


class _Group(click.Group):
    """Turns bad input into one line and exit status 2, and signals into one line and 130 or 143."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Be the whole process."""
        with interruptible():
            return super().__call__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return self._invoke(ctx)
        except InputError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"probe: {error}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has gone; nothing is left to say
            ctx.exit(0)
        except KeyboardInterrupt:
            click.echo(line(), err=True)
            ctx.exit(status())
        except (MemoryError, OSError, RuntimeError) as error:
            if ctx.params.get("debug") or (isinstance(error, RuntimeError) and not _ran_out(error)):
                raise
            click.echo(f"probe: {type(error).__name__}: {' '.join(str(error).split())}", err=True)
            ctx.exit(2)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if interrupted():  # some library made another error of it
                raise KeyboardInterrupt from error
            raise


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
    if "LOCAL_RANK" in os.environ and command not in _SHARED:
        with _share("cpu") as share:
            if share.size > 1:
                raise InputError(
                    f"probe {command}: processes share only probe run and probe limit; start it without torchrun"
                )


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_NETWORK = _options(
    click.option(
        "--network", help="package.module:callable or file.py:callable that returns the torch module."
    ),
    click.option(
        "--activation", help="Activation of a foreign perceptron, e.g. relu, leaky_relu:0.1, tanh, gelu."
    ),
    click.option("--residual", is_flag=True, help="A foreign perceptron's hidden layers add their input."),
    click.option("--key", help="Which state_dict to take where a file holds several, e.g. ema or model/net."),
)

_DATA = _options(
    click.option(
        "--data",
        help="mnist, mnist:FOLDER, text, text:FILE, a file with x and y (.npz, .pt, .safetensors) or file.py:callable"
        " that returns x and y, a Dataset, a DataLoader or batches (tensors, tuples or dicts).",
    ),
    click.option("--examples", type=int, help="Use only the first N examples of the data."),
    click.option(
        "--loss",
        help="cross-entropy, mse, bce-with-logits, next-token or file.py:callable of (outputs, targets) or (model,"
        " batch) [default: by the labels].",
    ),
)

_SOURCE = _options(click.argument("checkpoints", nargs=-1, required=True, type=click.Path()), _NETWORK, _DATA)

_PERTURB = _options(
    click.option(
        "--perturb",
        multiple=True,
        default=("*",),
        show_default=True,
        help="Which parameters are perturbed, a glob over names; give it again for more. Frozen and unused ones"
        " never are. probe layers lists them.",
    ),
    click.option(
        "--biases",
        type=click.Choice(["move", "fixed"]),
        default="move",
        show_default=True,
        help="Whether vectors (biases, norm layers) are perturbed too, as in the paper's released protocol.",
    ),
)

_MEASURE = _options(
    click.option(
        "--direction",
        type=click.Choice(["gradient", "noise", "update", "adversarial"]),
        default="gradient",
        show_default=True,
        help="Against the full-batch gradient, layerwise Gaussian noise, the real step to the next checkpoint, or at"
        " each eta the worst perturbation that projected ascent finds.",
    ),
    _PERTURB,
    click.option(
        "--batchnorm",
        type=click.Choice(["running", "batch"]),
        default="running",
        show_default=True,
        help="Batch norm by its running statistics, or by those of all examples at once (without updating any);"
        " dropout is off either way.",
    ),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Seed of the noise direction and of the search's restarts.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64"]),
        default="float32",
        show_default=True,
        help="Working precision.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["full", "tf32", "bfloat16"]),
        default="full",
        show_default=True,
        help="Let layers compute in TF32 (NVIDIA GPUs) or bfloat16; the noise floor shows what that costs.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="auto, cpu, cuda, cuda:1, …; under torchrun cuda is a GPU for every process.",
    ),
    click.option(
        "--chunk",
        default="auto",
        show_default=True,
        help="Examples at once: a number, or auto for 1,000, for all with batch statistics, and in a folder for what"
        " its run was begun with; changes rounding only.",
    ),
)


def _source(checkpoints: tuple[str, ...], options: dict[str, Any]) -> Source:
    from probes.runs.source import Source

    names = ("network", "activation", "residual", "key", "data", "examples", "loss")
    return Source(checkpoints, **{name: options[name] for name in names})


def _settings(options: dict[str, Any], **fixed: Any) -> SliceSettings:
    from probes.evaluation.chunks import parse_chunk
    from probes.slices.slice import SliceSettings

    names = ("direction", "perturb", "biases", "batchnorm", "seed", "dtype", "precision", "device")
    chosen = {name: options[name] for name in names}
    settings = SliceSettings(**chosen, chunk=parse_chunk(options["chunk"]), **fixed)
    for option, value, least in (("--samples", settings.samples, 1), ("--jacobian", settings.jacobian, 0)):
        if value < least:
            raise InputError(f"{option} {value}: must be at least {least}")
    return settings


@main.command()
@_SOURCE
@click.option(
    "--etas",
    default="log",
    show_default=True,
    help="Grid of perturbation strengths: log (0 and 20 from 1e-4 to 1), paper (0, 0.001, …, 0.099), a:b:n,"
    " or a comma list. 0 is always included.",
)
@_MEASURE
@click.option(
    "--layers",
    default="all",
    show_default=True,
    help="Whose gradients are measured: all, first, or a glob over parameter names. --perturb says which move.",
)
@click.option(
    "--samples", type=int, default=200, show_default=True, help="Examples whose output change is kept."
)
@click.option(
    "--jacobian",
    type=int,
    default=0,
    show_default=True,
    help="Examples whose layer-to-output Jacobians are measured.",
)
@click.option(
    "--spectra",
    type=click.Choice(["weights", "slice", "none"]),
    default="weights",
    show_default=True,
    help="Singular values of the frozen weights and direction, of the perturbed weights too, or none (fast).",
)
@click.option(
    "--limit/--no-limit", default=True, show_default=True, help="Search for the measured step limit."
)
@click.option(
    "--curvature/--no-curvature",
    default=True,
    show_default=True,
    help="Differentiate twice for the Hessian's curvature along the slice.",
)
@click.option(
    "--ladder/--no-ladder",
    default=True,
    show_default=True,
    help="Measure on the sampled examples what the bounds on the output are made of.",
)
@click.option(
    "--shard",
    type=click.Choice(["data", "checkpoints"]),
    default="data",
    show_default=True,
    help="How the processes of torchrun --nproc-per-node=N -m probes run … divide the work: each takes a part of the"
    " examples of every checkpoint, or whole checkpoints. One process alone does all.",
)
@click.option(
    "--objective",
    type=click.Choice(["output", "breakdown"]),
    default="output",
    show_default=True,
    help="What --direction adversarial maximises: the mean relative output change of the sampled examples, or the"
    " first layer's gradient breakdown.",
)
@click.option(
    "--ascent-steps",
    type=int,
    default=20,
    show_default=True,
    help="Points that each adversarial ascent tries.",
)
@click.option(
    "--restarts", type=int, default=3, show_default=True, help="Adversarial ascents that start from noise."
)
@click.option(
    "--dry-run",
    "dry",
    is_flag=True,
    help="Read and check everything, say what would be done and about how long it takes; write nothing.",
)
@_OUT
@_JSON
def run(
    checkpoints: tuple[str, ...], out: Path, as_json: bool, shard: str, dry: bool, **options: Any
) -> None:
    """Measure the slice of each CHECKPOINT (files, or folders of them in training order).

    What is measured is kept checkpoint by checkpoint; the same command continues an interrupted run.
    """
    from analysis import check_measurements
    from probes.cli.dry_run import dry_run
    from probes.cli.reports import copy_history, noise_line, self_check_lines
    from probes.runs.results import load
    from probes.runs.run import measure_run
    from probes.slices.etas import parse_etas

    names = ("layers", "samples", "jacobian", "spectra", "limit", "curvature", "ladder")
    own = {name: options[name] for name in (*names, "objective", "ascent_steps", "restarts")}
    orders: list[TrainingOrder] = []
    with _share(options["device"]) as share:
        settings = _settings(options, etas=parse_etas(options["etas"]), **own)
        source = _source(checkpoints, options)
        if dry:
            if share.rank == 0:
                found = dry_run(source, settings, out)
                if as_json:
                    _print_json(found.to_json())
                else:
                    click.echo("\n".join(found.lines()))
            return
        measure_run(source, settings, out, order=orders.append, share=share, shard=shard)
    if share.rank > 0:
        return
    copy_history(checkpoints, out)
    measurements = load(out)
    checks = check_measurements(measurements)
    if as_json:
        measured = [str(label) for label in measurements["checkpoint"].values]
        _print_json(
            {
                "results": str(out),
                "checkpoints": measured,
                "checks": [_check(check) for check in checks],
            }
        )
        return
    if len(orders[0].paths) > 1:
        click.echo("\n".join(orders[0].lines()))
    click.echo(self_check_lines(checks))
    click.echo(noise_line(measurements))
    click.echo(
        f"{measurements.sizes['checkpoint']} checkpoints measured into {out}; next: probe report {out}"
    )


@contextmanager
def _share(device: str) -> Iterator[Share]:
    """The part of the work that is this process's, where torchrun started several."""
    from probes.system.processes import from_environment

    def say(line: str) -> None:
        click.echo(f"probe: {line}", err=True)

    debug = click.get_current_context().find_root().params["debug"]
    with from_environment(device, say=say, debug=debug) as share:
        yield share


def _check(check: Any) -> dict[str, Any]:
    return {"check": check.check, "checkpoint": check.checkpoint, "outcome": check.outcome.value}


@main.command()
@click.argument("checkpoint", type=click.Path())
@_NETWORK
@_DATA
@_PERTURB
@_JSON
def layers(checkpoint: str, perturb: tuple[str, ...], biases: str, as_json: bool, **options: Any) -> None:
    """List the parameters of CHECKPOINT in the order of the forward pass, and how probe run will treat each.

    With data (--data, or what the checkpoint says) one forward pass of two examples tells the order and what is
    used; without any the order is that of registration.
    """
    from probes.cli.layers import list_layers, listing_lines

    found = list_layers(_source((checkpoint,), options), perturb=perturb, biases=biases)
    if as_json:
        _print_json([layer.to_json() for layer in found])
        return
    click.echo(listing_lines(found))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for figures and report.md [default: FOLDER/report].",
)
@_CLAIMS
@_FORMAT
@_JSON
def report(
    folder: Path, out: Path | None, user_claims: tuple[str, ...], formats: tuple[str, ...], as_json: bool
) -> None:
    """Judge every claim on the measurements in FOLDER, and draw them beside the bounds."""
    from probes.cli.claims import chosen_claims
    from probes.cli.reports import find, report_json, terminal_summary, write_report

    findings = find(folder, claims=list(chosen_claims(user_claims).values()))
    target = out or folder / "report"
    figures = write_report([findings], target, formats=formats)
    if as_json:
        _print_json(report_json([findings], figures))
        return
    click.echo(terminal_summary(findings))
    click.echo(f"figures, their numbers and report.md are in {target}")


@main.command()
@click.option(
    "--preset",
    type=click.Choice(["quick", "paper"]),
    default="quick",
    show_default=True,
    help="quick: width 256, a few minutes. paper: width 784 and the published schedule and grid, hours.",
)
@click.option(
    "--data",
    default="mnist",
    show_default=True,
    help="mnist (5,000 embedded images) or mnist:FOLDER (the full 60,000).",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the networks and of the data's order."
)
@click.option("--device", default="auto", show_default=True, help="Where to probe: auto, cpu, cuda, …")
@_FORMAT
@_OUT
@_JSON
def figure1(
    preset: str, data: str, seed: int, device: str, formats: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Train, probe and report the paper's Figure 1 from nothing; run it again to continue."""
    from probes.cli.reports import report_json, terminal_summary, write_report
    from studies.figure1 import reproduce

    findings = reproduce(preset, out, data=data, seed=seed, device=device)
    figures = write_report(findings, out / "report", formats=formats)
    if as_json:
        _print_json(report_json(findings, figures))
        return
    for one in findings:
        click.echo(terminal_summary(one))
        click.echo()
    click.echo(f"figures, their numbers and report.md are in {out / 'report'} (start with figure1.png)")


@main.command()
@click.option(
    "--network",
    type=click.Choice(["perceptron", "mlp3", "conv", "conv-bn", "residual16", "char-transformer"]),
    default="perceptron",
    show_default=True,
    help="A perceptron of --depth and --width, one of depth 3, or a fixed network: two convolutions (with batch norm),"
    " a residual one of 16 weight layers, or a transformer on characters (--data text).",
)
@click.option("--depth", type=int, default=2, show_default=True, help="Number of weight matrices L.")
@click.option("--width", type=int, default=784, show_default=True, help="Units in each hidden layer.")
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    help="relu, leaky_relu:0.1, tanh, gelu, silu, elu:1, softplus:1, identity, …; the last layer is linear.",
)
@click.option("--residual", is_flag=True, help="Hidden layers of equal width add their input.")
@click.option(
    "--norm",
    type=click.Choice(["none", "batch", "layer"]),
    default="none",
    show_default=True,
    help="Norm layer before each activation.",
)
@click.option("--bias/--no-bias", default=True, show_default=True, help="Whether layers have biases.")
@click.option(
    "--optimizer",
    type=click.Choice(["fromage", "sgd", "adam"]),
    default="fromage",
    show_default=True,
    help="Fromage, or torch's SGD or Adam.",
)
@click.option("--lr", type=float, default=0.01, show_default=True, help="Step size of the first epoch.")
@click.option(
    "--lr-decay", type=float, default=0.9, show_default=True, help="Factor on the step size after each epoch."
)
@click.option("--epochs", type=int, default=10, show_default=True, help="How many epochs.")
@click.option(
    "--epoch-steps", type=int, help="Steps that count as an epoch [default: one pass over the data]."
)
@click.option("--batch-size", type=int, default=250, show_default=True, help="Examples in a step.")
@click.option("--data", help="As for probe run [default: mnist; text for char-transformer].")
@click.option("--examples", type=int, help="Train on only the first N examples.")
@click.option("--loss", help="cross-entropy, mse or bce-with-logits [default: by the labels].")
@click.option(
    "--checkpoints",
    default="10",
    show_default=True,
    help="N evenly spaced from start to end, paper (the published schedule), or a list of epoch:batch.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the weights and of the data's order."
)
@_OUT
@_JSON
def train(out: Path, as_json: bool, **options: Any) -> None:
    """Train a network and save checkpoints that carry all that probe run needs; run it again to continue."""
    from probes.data.dataset import load_data
    from probes.networks.perceptron import PerceptronSpec
    from probes.networks.zoo import NAMED, NetworkSpec
    from probes.runs.training import TrainingSettings
    from probes.runs.training import train as train_network

    name = options.pop("network")
    _refuse_shape_options(name)
    depth, width = options.pop("depth"), options.pop("width")
    depth = 3 if name == "mlp3" else depth
    if depth < 1 or width < 1:
        raise InputError("--depth and --width must be at least 1")
    options["data"] = options["data"] or ("text" if name == "char-transformer" else "mnist")
    data = load_data(options["data"], examples=options["examples"])
    labels = not data.y.is_floating_point()
    outputs = int(data.y.max()) + 1 if labels and data.y.ndim == 1 else int(data.y[0].numel())
    inputs = int(data.x[0].numel())
    shape = {key: options.pop(key) for key in ("activation", "residual", "norm", "bias")}
    network: NetworkSpec
    if name in NAMED:
        network = NAMED[name](inputs, outputs, shape["norm"])
    else:
        network = PerceptronSpec(
            widths=(inputs, *[width] * (depth - 1), outputs),
            activation=shape["activation"],
            residual=shape["residual"],
            norm=shape["norm"],
            biases=(shape["bias"],) * depth,
        )
    files = train_network(TrainingSettings(network=network, **options), out, data=data)
    if as_json:
        _print_json({"checkpoints": [str(path) for path in files]})
        return
    click.echo(f"{len(files)} checkpoints and training.csv are in {out}; next: probe run {out} --out RESULTS")


def _refuse_shape_options(network: str) -> None:
    """Refuse options that were given and that the named network leaves no choice in.

    Raises:
        InputError: it names the first.
    """
    from click.core import ParameterSource

    shape = ("depth", "width", "activation", "residual", "bias", "norm")
    fixed = {"perceptron": (), "mlp3": ("depth",), "residual16": shape[:-1]}.get(network, shape)
    context = click.get_current_context()
    for option in fixed:
        if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
            raise InputError(f"--{option}: is fixed for --network {network}; leave it out")


@main.command()
@_SOURCE
@_MEASURE
@_JSON
def limit(checkpoints: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Lemma 2's, the calibrated, the slice curvature's and the measured step limit of each CHECKPOINT."""
    import numpy as np

    from analysis import step_limits
    from probes.cli import tables
    from probes.cli.reports import limits_json, noise_line
    from probes.runs.run import measure

    with _share(options["device"]) as share:
        if options["direction"] == "adversarial":
            raise InputError(
                "--direction adversarial: has no step limit, since every eta has a step of its own"
            )
        # the smallest change that tells the constant: in coarser layers 1e-4 is rounding
        etas = np.array([0.0, 1e-4 if options["precision"] == "full" else 1e-2])
        settings = _settings(options, etas=etas, samples=1, curvature=False, ladder=False)
        source = _source(checkpoints, options)
        measurements = measure(source, settings, what="limits", share=share)
    if share.rank > 0:
        return
    limits = step_limits(measurements)
    if as_json:
        _print_json(limits_json(measurements, limits))
        return
    click.echo(tables.plain(tables.limits_table(limits)))
    if options["precision"] != "full":
        click.echo(noise_line(measurements))


@main.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--key", help="Which state_dict to take where a file holds several.")
@_JSON
def distance(before: Path, after: Path, key: str | None, as_json: bool) -> None:
    """Deep relative trust between two checkpoints: in all, and each weight matrix's relative change."""
    from probes.cli import tables
    from probes.cli.distance import distance_between_files

    found = distance_between_files(before, after, key=key)
    if as_json:
        _print_json(found)
        return
    rows = [["weight matrix", "‖ΔW‖/‖W‖"]]
    rows += [[layer["name"], tables.number(layer["relative"])] for layer in found["layers"]]
    click.echo(tables.plain(rows))
    click.echo(f"deep relative trust ∏(1 + r) − 1 = {tables.number(found['distance'], 6)}")


@main.command()
@_CLAIMS
@_JSON
def claims(user_claims: tuple[str, ...], as_json: bool) -> None:
    """What can be tested: each claim's statement, premises and source."""
    from probes.cli.claims import chosen_claims
    from probes.cli.reports import claims_json

    found = claims_json(chosen_claims(user_claims).values())
    if as_json:
        _print_json(found)
        return
    for claim in found:
        click.echo(click.style(claim["claim"], bold=True))
        click.echo(f"    {claim['statement']}")
        click.echo(f"    measures: {claim['measures']}")
        for name, statement in claim["premises"].items():
            click.echo(f"    premise {name}: {statement}")
        if not claim["premises"]:
            click.echo("    no premises")
        known = "proved under its premises" if claim["proved"] else "no proof is known"
        click.echo(f"    {known}; source: {claim['source']}\n")


@main.command("falsify")
@click.argument("claim", required=False)
@click.option(
    "--widths", help="d_0,…,d_L of the networks, such as 4,4,4 [default: many, up to 3 wide and 4 deep]."
)
@click.option(
    "--activation", help="φ: identity, relu, tanh or leaky_relu:a [default: all that the premises allow]."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed finds the same witness.")
@click.option("--budget", type=float, default=60.0, show_default=True, help="Seconds, for each claim.")
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Check a witness file again from scratch instead.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the witness; with the claim all, for every witness and the table falsified.md.",
)
@_CLAIMS
@_JSON
def falsify_command(
    claim: str | None,
    replay: Path | None,
    out: Path | None,
    user_claims: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Search small networks that satisfy every premise of CLAIM for one at which its inequality fails.

    CLAIM is an id that probe claims lists, path/to/file.py:name, or all. A counterexample counts only when it is
    certified in exact arithmetic; it is printed, and written as JSON with --out.
    """
    from probes.cli import falsification as f
    from probes.cli.claims import chosen_claims, claim_named

    if (claim is None) == (replay is None):
        raise InputError("give either a CLAIM to refute or --replay FILE; probe claims lists the claims")
    if replay is not None:
        again = f.replay_file(replay, user_claims)
        if as_json:
            _print_json({"claim": again.claim, "refuted": again.refutes})
        else:
            click.echo(f.replay_lines(again))
        return
    assert claim is not None
    settings = f.Search(widths=f.parse_widths(options.pop("widths")), **options)
    if claim == "all":
        if out is None:
            raise InputError("probe falsify all: add --out DIR for the table and the witnesses")
        found = f.write_outcomes(
            list(chosen_claims(user_claims).values()),
            settings,
            out,
            progress=lambda line: click.echo(line, err=as_json),
        )
    else:
        found = [f.find_witness(claim_named(claim, user_claims), settings, out)]
        if not as_json:
            click.echo(f.outcome_lines(*found[0]))
    if as_json:
        documents = [outcome.to_json(one) for one, outcome in found]
        _print_json(documents if claim == "all" else documents[0])


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def export(folder: Path, file: Path) -> None:
    """Write the measurements in FOLDER as a tidy table: one row a number, FILE.csv."""
    from probes.runs.results import export_csv, load

    rows = export_csv(load(folder), file)
    click.echo(f"{rows} rows written to {file}")


def _print_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
