"""``probe train``: a network of ours, and the checkpoints of its training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from probes.choices import CHOICES, check_count
from probes.cli.documents import JSON, print_json
from probes.cli.options import OUT, choice
from probes.errors import InputError
from probes.networks.named import NAMED
from probes.networks.specs import LARGEST_WIDTH, MOST_LAYERS
from probes.runs.optimizers import OPTIMIZERS, rate_of
from probes.system.terminal import say

if TYPE_CHECKING:
    from probes.data.dataset import DataSet
    from probes.networks.specs import NetworkSpec

_SHAPE = ("depth", "width", "activation", "residual", "bias", "norm")
_FIXED = {"perceptron": (), "mlp3": ("depth",), "residual16": _SHAPE[:-1]}
"""By the network's name the options that it leaves no choice in; all of them for any other network."""


class CountOrAll(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A whole number, or ``all``, which is None."""

    name = "integer or all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """See the class."""
        if value is None or value == "all":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor all", param, ctx)


class FactorOrCosine(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number, or ``cosine``."""

    name = "float or cosine"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """See the class."""
        if value == "cosine":
            return "cosine"
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor cosine", param, ctx)


@click.command()
@click.option(
    "--network",
    type=choice(["perceptron", "mlp3", *NAMED]),
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
    help="relu, leaky_relu:0.1, tanh, gelu, silu, elu:1, softplus:1, scaled_relu (√2 relu, as AGD's authors take),"
    " identity, …; the last layer is linear.",
)
@click.option("--residual", is_flag=True, help="Hidden layers of equal width add their input.")
@click.option(
    "--norm",
    type=choice(CHOICES["norm"]),
    default="none",
    show_default=True,
    help="Norm layer before each activation.",
)
@click.option("--bias/--no-bias", default=True, show_default=True, help="Whether layers have biases.")
@click.option(
    "--optimizer",
    type=choice(OPTIMIZERS),
    default="fromage",
    show_default=True,
    help="Fromage; lars: it without its factor; torch's SGD, with momentum 0.9 or without, or Adam; signsgd, lamb;"
    " nero, madam; agd: automatic gradient descent; muon: torch's on matrices, Adam on the rest; sam: sharpness-aware"
    " SGD; flow: Runge-Kutta on the gradient flow; exponential-euler: exact along the Hessian's top eigenvectors.",
)
@click.option(
    "--lr",
    type=float,
    help="Step size of the first epoch; of agd a factor on its own; of flow and exponential-euler the time that a step"
    " goes on for [default: 0.01; of agd 1].",
)
@click.option("--rho", type=float, help="Of sam: how far up the gradient it looks [default: 0.05].")
@click.option("--eigenpairs", type=int, help="Of exponential-euler: how many [default: 10].")
@click.option(
    "--lr-decay",
    type=FactorOrCosine(),
    default="0.9",
    show_default=True,
    help="Factor on the step size after each epoch; cosine: along a cosine to zero.",
)
@click.option("--epochs", type=int, default=10, show_default=True, help="How many epochs.")
@click.option(
    "--epoch-steps", type=int, help="Steps that count as an epoch [default: one pass over the data]."
)
@click.option(
    "--batch-size",
    type=CountOrAll(),
    default="250",
    show_default=True,
    help="Examples in a step; all: the full batch, in the order of the data.",
)
@click.option("--data", help="As for probe run [default: mnist; text for char-transformer].")
@click.option("--examples", type=int, help="Train on only the first N examples.")
@click.option(
    "--initialization",
    type=choice(CHOICES["initialization"]),
    default="torch",
    show_default=True,
    help="Of the weights: torch's own, or agd: orthogonal times √(d_out/d_in).",
)
@click.option("--loss", help="cross-entropy, mse, half-square or bce-with-logits [default: by the labels].")
@click.option(
    "--checkpoints",
    default="10",
    show_default=True,
    help="N evenly spaced from start to end, paper (the published schedule), or a list of epoch:batch.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the weights and of the data's order."
)
@OUT
@JSON
def train(out: Path, as_json: bool, network: str, **options: Any) -> None:
    """Train a network and save checkpoints that carry all that probe run needs; run it again to continue."""
    from probes.data.dataset import load_data
    from probes.runs.training import TrainingSettings
    from probes.runs.training import train as train_network

    _refuse_shape_options(network)
    shape = {name: options.pop(name) for name in _SHAPE}
    check_count("depth", shape["depth"], 1, MOST_LAYERS - 1)
    check_count("width", shape["width"], 1, LARGEST_WIDTH)
    options["data"] = options["data"] or ("text" if network == "char-transformer" else "mnist")
    data = load_data(options["data"], examples=options["examples"])
    if options["lr"] is None:
        options["lr"] = rate_of(options["optimizer"])
    settings = TrainingSettings(network=_described(network, shape, data), **options)
    files = train_network(settings, out, data=data)
    if as_json:
        print_json({"checkpoints": [str(path) for path in files]})
        return
    say(f"{len(files)} checkpoints and training.csv are in {out}; next: probe run {out} --out RESULTS")


def _refuse_shape_options(network: str) -> None:
    """Refuse options that were given and that the named network leaves no choice in.

    Raises:
        InputError: it names the first.
    """
    context = click.get_current_context()
    for option in _FIXED.get(network, _SHAPE):
        if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
            raise InputError(f"--{option}: is fixed for --network {network}; leave it out")


def _described(network: str, shape: dict[str, Any], data: DataSet) -> NetworkSpec:
    """The network of that name and shape, with the inputs and outputs that the data have."""
    from probes.networks.perceptron import PerceptronSpec

    labels = not data.y.is_floating_point()
    outputs = int(data.y.max()) + 1 if labels and data.y.ndim == 1 else int(data.y[0].numel())
    inputs = int(data.x[0].numel())
    if network in NAMED:
        return NAMED[network](inputs, outputs, shape["norm"])
    depth = 3 if network == "mlp3" else shape["depth"]
    return PerceptronSpec(
        widths=(inputs, *[shape["width"]] * (depth - 1), outputs),
        activation=shape["activation"],
        residual=shape["residual"],
        norm=shape["norm"],
        biases=(shape["bias"],) * depth,
    )
