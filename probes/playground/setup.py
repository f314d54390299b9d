"""What a network of the playground is, how it learns and from what: checked, as all that a browser sends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from probes.choices import check_count
from probes.errors import InputError
from probes.networks.perceptron import PerceptronSpec
from probes.runs.optimizers import OPTIMIZERS
from studies.parts.planar import PLANAR

__all__ = ["ACTIVATIONS", "CSV", "MOST_DEPTH", "MOST_WIDTH", "RULES", "Setup"]

ACTIVATIONS = ("tanh", "relu", "leaky_relu:0.5", "gelu", "identity")
RULES = ("fromage", "measured-limit", "sgd", "adam", "lars")
CSV = "csv"
"""The data that a browser sent, in place of one of ours."""
MOST_DEPTH, MOST_WIDTH, MOST_BATCH, MOST_SEED = 20, 16, 500, 2**31 - 1


@dataclass(frozen=True)
class Setup:
    """Everything that decides a network before its first step.

    Attributes:
        depth: weight matrices, L.
        width: of the hidden layers.
        activation: one of :data:`ACTIVATIONS`.
        residual: whether hidden layers add their input.
        data: a set of points, or :data:`CSV`.
        rule: one of :data:`RULES`; ``measured-limit`` is Fromage at the limit that it measures on the way.
        lr: its step size; of ``measured-limit`` the factor on the limit.
        batch: points a step.
        seed: of points, weights and batches.
    """

    depth: int = 4
    width: int = 8
    activation: str = "tanh"
    residual: bool = False
    data: str = "circle"
    rule: str = "fromage"
    lr: float = 0.03
    batch: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: one is none of those that there are.
        """
        ranges = {"depth": MOST_DEPTH, "width": MOST_WIDTH, "batch": MOST_BATCH, "seed": MOST_SEED}
        for name, most in ranges.items():
            if type(getattr(self, name)) is not int:
                raise InputError(f"the {name} must be a whole number")
            check_count(name, getattr(self, name), int(name != "seed"), most)
        known = {"activation": ACTIVATIONS, "data": (*PLANAR, CSV), "rule": RULES}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f"the {name} must be one of {', '.join(values)}")
        if type(self.residual) is not bool:
            raise InputError("residual must be true or false")
        if type(self.lr) not in (int, float) or not (math.isfinite(self.lr) and 0 < self.lr <= 10):
            raise InputError("the step size must be above 0 and at most 10")

    @classmethod
    def read(cls, content: Any) -> Setup:
        """What a browser sent; what it leaves out is as by default.

        Raises:
            InputError: it is no setup.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, Mapping) or not set(content) <= names:
            raise InputError(f"a setup has {', '.join(sorted(names))}, and nothing else")
        return cls(**content)

    def to_json(self) -> dict[str, Any]:
        """As :meth:`read` takes it."""
        return asdict(self)

    @property
    def network(self) -> PerceptronSpec:
        """The network's description: two inputs and one output."""
        widths = (2, *[self.width] * (self.depth - 1), 1)
        return PerceptronSpec(widths, self.activation, self.residual, biases=(True,) * self.depth)

    @property
    def optimizer(self) -> str:
        """The name of its optimizer."""
        return "fromage" if self.rule == "measured-limit" else self.rule


assert set(RULES) - {"measured-limit"} <= set(OPTIMIZERS)
