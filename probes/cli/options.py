"""Options that several commands share, and what the package's own functions take, made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from probes.choices import CHOICES
from probes.errors import InputError
from probes.measures.settings import SliceSettings

if TYPE_CHECKING:
    from probes.runs.source import Source

__all__ = [
    "CLAIMS",
    "CURVATURE",
    "DATA",
    "FORMAT",
    "IGNORE",
    "KEY",
    "MEASURE",
    "NETWORK",
    "OUT",
    "PERTURB",
    "SOURCE",
    "choice",
    "read_count",
    "setting",
    "settings_of",
    "source_of",
]

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULTS = {field.name: field.default for field in fields(SliceSettings)}


def read_count(context: click.Context, option: click.Parameter, text: str) -> int | None:
    """How many at once; None for ``auto``.

    Raises:
        InputError: it is neither.
    """
    if text == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        what = "examples" if option.name == "chunk" else "etas"
        raise InputError(f"{option.opts[0]} {text}: give auto, or how many {what} at once (at least 1)")
    return int(text)


def _read_eigenvalues(context: click.Context, option: click.Parameter, text: str) -> int | None:
    """How many eigenvalues; None for ``none``.

    Raises:
        InputError: it is neither.
    """
    if text.lower() == "none":
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InputError(f"--curvature {text}: give how many eigenvalues, 0, or none")
    return int(text)


def choice(names: Iterable[str]) -> click.Choice[str]:
    """One of ``names``."""
    return click.Choice(list(names))


def setting(name: str, text: str, **attributes: Any) -> Callable[[F], F]:
    """The option for a field of :class:`SliceSettings`, with its default and its choices.

    Args:
        name: of the field.
        text: what help says.
        attributes: of the option, where it differs from the field.
    """
    default = _DEFAULTS[name]
    word = name.replace("_", "-")
    attributes = {
        "default": default,
        "show_default": True,
        "multiple": isinstance(default, tuple),
        "type": choice(CHOICES[name]) if name in CHOICES else None,
        **attributes,
    }
    return click.option(f"--{word}/--no-{word}" if default is True else f"--{word}", help=text, **attributes)


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")

CLAIMS = click.option(
    "--claim",
    "user_claims",
    multiple=True,
    help="A claim of your own, path/to/file.py:name; give it again for more than one.",
)

FORMAT = click.option(
    "--format",
    "formats",
    multiple=True,
    type=choice(["png", "pdf", "svg"]),
    default=("png", "pdf"),
    show_default=True,
    help="Figure formats; give it again for more than one.",
)

KEY = click.option(
    "--key", help="Which state_dict to take where a file holds several, e.g. ema or model/net."
)

IGNORE = click.option(
    "--ignore-tensors",
    multiple=True,
    metavar="GLOB",
    help="Leave out the file's tensors of these names, which the network does not need; give it again for more.",
)

NETWORK = _together(
    click.option(
        "--network", help="package.module:callable or file.py:callable that returns the torch module."
    ),
    click.option(
        "--activation", help="Activation of a foreign perceptron, e.g. relu, leaky_relu:0.1, tanh, gelu."
    ),
    click.option("--residual", is_flag=True, help="A foreign perceptron's hidden layers add their input."),
    KEY,
    IGNORE,
    click.option(
        "--base", type=click.Path(), help="The base network's checkpoint, for a folder with a PEFT adapter."
    ),
    click.option(
        "--merge-adapter",
        is_flag=True,
        help="Probe the base network's weights with the adapter merged into them, not the adapter's own matrices.",
    ),
)

DATA = _together(
    click.option(
        "--data",
        help="mnist, mnist-14x14, mnist:FOLDER, text, text:FILE, a file with x and y (.npz, .pt, .safetensors) or"
        " file.py:callable that returns x and y, a Dataset, a DataLoader or batches (tensors, tuples or dicts).",
    ),
    click.option("--examples", type=int, help="Use only the first N examples of the data."),
    click.option(
        "--loss",
        help="cross-entropy, mse, half-square, bce-with-logits, next-token or file.py:callable of (outputs, targets)"
        " or (model, batch) [default: by the labels].",
    ),
)

SOURCE = _together(click.argument("checkpoints", nargs=-1, required=True, type=click.Path()), NETWORK, DATA)

PERTURB = _together(
    setting(
        "perturb",
        "Which parameters are perturbed, a glob over names; give it again for more. Frozen and unused ones"
        " never are. probe layers lists them.",
    ),
    setting(
        "biases",
        "Whether vectors (biases, norm layers) are perturbed too, as in the paper's released protocol.",
    ),
)

MEASURE = _together(
    setting(
        "direction",
        "Against the full-batch gradient; steepest descent under the spectral norm or the largest entry (sign);"
        " layerwise Gaussian noise; the real step to the next checkpoint; weights quantized, pruned or with noise by"
        " output channel, level by level; or at each eta the worst perturbation that projected ascent finds.",
    ),
    PERTURB,
    setting(
        "batchnorm",
        "Batch norm by its running statistics, or by those of all examples at once (without updating any);"
        " dropout is off either way.",
    ),
    setting("seed", "Seed of the noise and of the search's restarts."),
    setting("dtype", "Working precision."),
    setting(
        "precision",
        "Let layers compute in TF32 (NVIDIA GPUs) or bfloat16; the noise floor shows what that costs.",
    ),
    setting(
        "matmul",
        "What multiplies float32 matrices on a CPU: PyTorch's own products, oneDNN's, or the faster of those whose"
        " measured error is float32's; results keep which.",
    ),
    setting(
        "device",
        "auto, cpu, cuda, cuda:1, …; under torchrun cuda is a GPU for every process.",
        default="auto",
    ),
    setting(
        "chunk",
        "Examples at once: a number, or auto for 1,000 (all of them for batch statistics); halved where memory runs"
        " out; changes rounding only.",
        default="auto",
        callback=read_count,
    ),
    setting(
        "etas_at_once",
        "Etas at once: a number, or auto for as many as a timing finds fastest where there are many and the network is"
        " small; changes rounding only.",
        default="auto",
        callback=read_count,
    ),
)


CURVATURE = _together(
    click.option(
        "--no-curvature",
        "curvature",
        flag_value="none",
        default="0",
        callback=_read_eigenvalues,
        help="Differentiate nothing twice, not even along the slice.",
    ),
    setting(
        "curvature",
        "The K largest eigenvalues of Hessian and Gauss-Newton matrix, whole and layer by layer, with traces, sharpness"
        " under other norms and the critical learning rate; 0 differentiates twice along the slice alone.",
        default="0",
        metavar="K",
        callback=_read_eigenvalues,
    ),
    setting("curvature_lowest", "How many of the Hessian's most negative eigenvalues."),
    setting("batch_sharpness", "Examples in each mini-batch whose sharpness is averaged (0: none)."),
)


def source_of(checkpoints: tuple[str, ...], options: Mapping[str, Any]) -> Source:
    """Checkpoints, network, data and loss."""
    from probes.runs.source import Source

    names = [field.name for field in fields(Source) if field.name != "checkpoints"]
    return Source(checkpoints, **{name: options[name] for name in names})


def settings_of(options: Mapping[str, Any], **fixed: Any) -> SliceSettings:
    """How a slice is measured: by the options that are settings, and by what a command fixes.

    Raises:
        InputError: a setting that cannot be used.
    """
    given = {name: value for name, value in options.items() if name in _DEFAULTS} | fixed
    settings = SliceSettings(**given)
    if settings.samples < 1:
        raise InputError(f"--samples {settings.samples}: must be at least 1")
    return settings
