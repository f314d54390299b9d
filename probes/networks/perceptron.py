"""Perceptrons: the paper's networks, as a description and as a torch module."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from probes.choices import check_choice
from probes.errors import InputError
from probes.networks.activations import activation_function, parse_activation
from probes.networks.specs import Description, check_sizes

__all__ = ["Perceptron", "PerceptronSpec"]


@dataclass(frozen=True)
class PerceptronSpec(Description):
    """What a perceptron is: f(x) = W_L h_{L−1} + b_L, h_k = [h_{k−1} +] φ(norm(W_k h_{k−1} + b_k)).

    Attributes:
        widths: d_0, …, d_L, so that W_k has shape (d_k, d_{k−1}).
        activation: φ of the hidden layers, as ``name`` or ``name:parameter``; the last layer is linear.
        residual: whether hidden layers with d_k = d_{k−1} add their input.
        norm: ``none``, ``batch`` or ``layer``, before φ.
        biases: for each layer whether it has a bias.
    """

    kind: ClassVar[str] = "perceptron"

    widths: tuple[int, ...]
    activation: str
    residual: bool = False
    norm: str = "none"
    biases: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """Check everything, so that a description from a file can be trusted.

        Raises:
            InputError: a value that makes no network.
        """
        if not isinstance(self.widths, tuple) or len(self.widths) < 2:
            raise InputError(
                f"a perceptron needs at least an input and an output width, got {reprlib.repr(self.widths)}"
            )
        check_sizes("widths", self.widths, 1_000_000)
        if not isinstance(self.norm, str) or not isinstance(self.activation, str):
            raise InputError("a perceptron's norm and activation are named by text")
        check_choice("norm", self.norm)
        flags = self.biases if isinstance(self.biases, tuple) else ()
        if len(flags) != self.depth:
            raise InputError(
                f"a perceptron of {self.depth} layers needs as many bias flags, got {len(flags)}"
            )
        if not all(type(flag) is bool for flag in (*flags, self.residual)):
            raise InputError("a perceptron's flags must be true or false")
        parse_activation(self.activation)

    @property
    def depth(self) -> int:
        """L, the number of weight matrices."""
        return len(self.widths) - 1

    @property
    def inputs(self) -> int:
        """d_0."""
        return self.widths[0]

    @property
    def outputs(self) -> int:
        """d_L."""
        return self.widths[-1]

    @property
    def vocabulary(self) -> None:
        """Inputs are real numbers, not characters."""
        return

    @property
    def widest(self) -> int:
        """The largest width."""
        return max(self.widths)


class Perceptron(nn.Module):
    """The module of a :class:`PerceptronSpec`; inputs (n, …) are flattened, outputs are (n, d_L)."""

    def __init__(self, spec: PerceptronSpec) -> None:
        """Build it with PyTorch's default initialisation of ``nn.Linear``."""
        super().__init__()
        self.spec = spec
        pairs = zip(spec.widths, spec.widths[1:], strict=False)
        self.layers = nn.ModuleList(
            nn.Linear(fan_in, fan_out, bias=bias)
            for (fan_in, fan_out), bias in zip(pairs, spec.biases, strict=True)
        )
        hidden = spec.widths[1:-1]
        self.norms: nn.ModuleList | None = None
        if spec.norm == "batch":
            self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in hidden)
        elif spec.norm == "layer":
            self.norms = nn.ModuleList(nn.LayerNorm(width) for width in hidden)
        self._phi = activation_function(spec.activation)

    def activation(self, z: Tensor) -> Tensor:
        """φ, elementwise."""
        return self._phi(z)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n, d_L)."""
        h = x.flatten(1)
        *hidden, last = self.layers
        for k, layer in enumerate(hidden):
            z = layer(h)
            if self.norms is not None:
                z = self.norms[k](z)
            a = self.activation(z)
            h = h + a if self.spec.residual and a.shape == h.shape else a
        outputs: Tensor = last(h)
        return outputs
