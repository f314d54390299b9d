"""What a setting may be: the names to choose from, by setting, and what each means.

Here, beside the errors and without any library, so that the command can offer them before it loads one.
"""

from __future__ import annotations

from probes.errors import InputError, mention

__all__ = ["CHOICES", "LEVELS", "MOST_CHECKPOINTS", "SEEDS", "check_choice", "check_count"]

MOST_CHECKPOINTS = 10_000
"""Of a run or a training, whose files are numbered with four digits."""

SEEDS = (-(2**63), 2**63 - 1)
"""The smallest and the largest that a generator takes."""

CHOICES: dict[str, dict[str, str]] = {
    "direction": {
        "gradient": "against the full-batch gradient, every tensor by its own norms (the paper's slice)",
        "spectral": "steepest descent under the spectral norm, UVᵀ of each layer's gradient (Muon's step)",
        "sign": "steepest descent under the largest entry, the sign of each layer's gradient (signSGD's step)",
        "noise": "layerwise Gaussian noise, every tensor scaled to its weight's norm",
        "update": "the real update to the next checkpoint, scaled so that the matrix moving most moves by eta",
        "quantize": "at each level of bits, rounded to that many",
        "prune": "at each level of percent, that share of every tensor's smallest entries set to zero",
        "filter-noise": "at each level of percent, noise of that size relative to each output channel",
        "adversarial": "at each eta of its own the worst perturbation found, every tensor by at most eta of its norm",
    },
    "granularity": {
        "tensor": "one scale for each tensor",
        "channel": "one for each output channel of a weight matrix",
    },
    "spectra": {
        "weights": "singular values of the frozen weights and of the direction",
        "slice": "of the perturbed weights at every eta too",
        "none": "of neither",
    },
    "split": {
        "small": "at the smallest η that constants are read off, 1e-4",
        "slice": "at every η",
        "none": "nowhere",
    },
    "biases": {
        "move": "vectors (biases, norm layers) are perturbed too, as in the paper's released protocol",
        "fixed": "vectors stay put",
    },
    "batchnorm": {
        "running": "running statistics, as in evaluation",
        "batch": "statistics of all examples at once, as in a training step; nothing running is updated",
    },
    "dtype": {"float32": "single precision", "float64": "double precision"},
    "precision": {
        "full": "matrix products in the working precision",
        "tf32": "float32 products rounded to TF32's 10 bits, on NVIDIA GPUs",
        "bfloat16": "layers in bfloat16 where PyTorch's autocast allows it",
    },
    "matmul": {
        "auto": "the faster of the two on this processor and these shapes, if its error is float32's",
        "torch": "PyTorch's own (MKL's)",
        "onednn": "oneDNN's, on some processors twice as fast; refused where it rounds to bfloat16",
    },
    "objective": {
        "output": "the mean over examples of ‖f̃(x) − f(x)‖ / ‖f(x)‖",
        "breakdown": "‖g̃ − g‖_F / ‖g‖_F of the first weight matrix's full-batch gradient g",
    },
    "shard": {
        "data": "every checkpoint is measured by all processes, each on its part of the examples",
        "checkpoints": "every process measures whole checkpoints, each its own",
    },
    "initialization": {
        "torch": "PyTorch's own",
        "agd": "weight matrices orthogonal, times √(d_out/d_in): where automatic gradient descent starts",
    },
    "norm": {
        "none": "no norm layers",
        "batch": "batch norm before each activation",
        "layer": "layer norm before each activation",
    },
}
"""By the setting's name: the choices in the order in which they are shown."""

LEVELS: dict[str, tuple[float, ...]] = {
    "quantize": (16, 12, 10, 8, 7, 6, 5, 4, 3, 2),
    "prune": (10, 20, 30, 40, 50, 60, 70, 80, 90),
    "filter-noise": (1, 2, 5, 10, 20, 50, 100),
}
"""By the directions that have levels: their levels by default, the mildest first."""


def check_choice(setting: str, value: str) -> None:
    """Refuse what is no choice.

    Raises:
        InputError: it names the setting and the choices.
    """
    choices = CHOICES[setting]
    if value not in choices:
        raise InputError(f"{mention(setting, value)}: unknown; known are {', '.join(choices)}")


def check_count(setting: str, value: int, least: int, most: int) -> None:
    """Refuse what is no whole number from ``least`` to ``most``.

    Raises:
        InputError: it names the setting and the limits.
    """
    if not least <= value <= most:
        limits = f"at least {least}" if value < least else f"at most {most}"
        raise InputError(f"{mention(setting, value)}: must be {limits}")
