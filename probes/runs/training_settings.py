"""What decides a training run, checked before it begins."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from probes.choices import SEEDS, check_choice, check_count
from probes.errors import InputError, mention
from probes.networks.specs import NetworkSpec
from probes.runs.optimizers import OPTIMIZERS, check_installed

__all__ = ["COSINE", "MOST_STEPS", "TrainingSettings"]

COSINE = "cosine"

MOST_STEPS = 10**7  # every one is kept in memory, for the curve
_OPTIONS: dict[str, tuple[str, float]] = {"rho": ("sam", 0.05), "eigenpairs": ("exponential-euler", 10)}
"""Options that one optimizer alone has, and what they are where nothing is said."""
_WHOLE = ("flow", "exponential-euler")
"""Optimizers that solve the flow of the full-batch gradient."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides a training run.

    Attributes:
        network: a description of any kind that :mod:`probes.networks.kinds` knows.
        data: a data spec of :func:`probes.data.dataset.load_data`.
        examples: train on only that many examples.
        loss: a loss of :data:`probes.data.losses.LOSSES`; None: cross-entropy for labels.
        optimizer: a name of :data:`probes.runs.optimizers.OPTIMIZERS`.
        lr: step size of the first epoch; of ``agd`` a factor on its own, 1 as published; of ``flow`` and
            ``exponential-euler`` the time that a step goes on for.
        lr_decay: factor on the step size after each epoch; ``cosine``: it falls along a cosine, to zero behind the last
            step.
        epochs: how many.
        epoch_steps: steps that count as an epoch (None: one pass over the data).
        batch_size: examples a step; None: all of them, in the order of the data, so that no shuffling changes a sum's
            rounding.
        checkpoints: see :func:`probes.runs.schedule.checkpoint_steps`.
        seed: of the initial weights and of the order of the data.
        rho: how far up the gradient ``sam`` looks, a distance in weight space (None: 0.05); of no other optimizer.
        initialization: of the weights, ``torch`` or ``agd`` (:func:`trust.optim.agd_initialisation_`).
        eigenpairs: along how many of the Hessian's top eigenvectors ``exponential-euler`` is exact (None: 10).
    """

    network: NetworkSpec
    data: str = "mnist"
    examples: int | None = None
    loss: str | None = None
    optimizer: str = "fromage"
    lr: float = 0.01
    lr_decay: float | str = 0.9
    epochs: int = 10
    epoch_steps: int | None = None
    batch_size: int | None = 250
    checkpoints: str = "10"
    seed: int = 0
    rho: float | None = None
    eigenpairs: int | None = None
    initialization: str = "torch"

    def __post_init__(self) -> None:
        """Refuse what cannot train.

        Raises:
            InputError: it names the option.
        """
        if self.optimizer not in OPTIMIZERS:
            raise InputError(
                f"{mention('optimizer', self.optimizer)}: unknown; known are {', '.join(OPTIMIZERS)}"
            )
        check_installed(self.optimizer)
        check_choice("initialization", self.initialization)
        for option, (optimizer, _) in _OPTIONS.items():
            value = getattr(self, option)
            if value is not None and self.optimizer != optimizer:
                raise InputError(f"{mention(option, value)}: only `optimizer={optimizer!r}` takes it")
        decay = 1.0 if self.lr_decay == COSINE else self.lr_decay
        if isinstance(decay, str):
            raise InputError(f"{mention('lr_decay', decay)}: must be a positive number, or {COSINE}")
        for option, number in (("lr", self.lr), ("lr_decay", decay), ("rho", self.rho)):
            if number is not None and not (math.isfinite(number) and number > 0):
                raise InputError(f"{mention(option, number)}: must be a positive number")
        for option, count in (
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("epoch_steps", self.epoch_steps),
            ("eigenpairs", self.eigenpairs),
        ):
            if count is not None:
                check_count(option, count, 1, MOST_STEPS)
        check_count("seed", self.seed, *SEEDS)
        if self.optimizer in _WHOLE:
            if self.batch_size is not None:
                raise InputError(
                    f"{mention('batch_size', self.batch_size)}: {self.optimizer} follows the gradient of all examples;"
                    " say all"
                )
            if self.network.norm == "batch":
                raise InputError(f"{mention('norm', 'batch')}: its statistics are no part of a gradient flow")

    def identity(self) -> dict[str, Any]:
        """What tells this run from another; options that were added later are in it where they are given alone."""
        later = dict.fromkeys(_OPTIONS) | {"initialization": "torch"}
        return {
            name: value for name, value in asdict(self).items() if name not in later or value != later[name]
        }

    def options(self) -> dict[str, Any]:
        """What the optimizer takes besides the step size."""
        return {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, (optimizer, default) in _OPTIONS.items()
            if optimizer == self.optimizer
        }

    def rate(self, step: int, epoch_steps: int) -> float:
        """The step size of a step; behind the last one, the last one's."""
        if isinstance(self.lr_decay, str):
            total = self.epochs * epoch_steps
            return self.lr / 2 * (1 + math.cos(math.pi * min(step, total - 1) / total))
        found: float = self.lr * self.lr_decay ** min(step // epoch_steps, self.epochs - 1)
        return found
