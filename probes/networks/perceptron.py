"""Perceptrons: the paper's networks, as a description and as a torch module."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from probes.choices import check_choice
from probes.errors import InputError
from probes.networks.activations import activation_function, parse_activation

__all__ = ["Perceptron", "PerceptronSpec"]


@dataclass(frozen=True)
class PerceptronSpec:
    """What a perceptron is: f(x) = W_L h_{L−1} + b_L, h_k = [h_{k−1} +] φ(norm(W_k h_{k−1} + b_k)).

    Attributes:
        widths: d_0, …, d_L, so that W_k has shape (d_k, d_{k−1}).
        activation: φ of the hidden layers, as ``name`` or ``name:parameter``; the last layer is linear.
        residual: whether hidden layers with d_k = d_{k−1} add their input.
        norm: ``none``, ``batch`` or ``layer``, before φ.
        biases: for each layer whether it has a bias.
    """

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
        if len(self.widths) < 2 or any(not 1 <= width <= 1_000_000 for width in self.widths):
            raise InputError(f"a perceptron needs at least an input and an output width, got {self.widths}")
        check_choice("norm", self.norm)
        if len(self.biases) != self.depth:
            raise InputError(
                f"a perceptron of {self.depth} layers needs as many bias flags, got {len(self.biases)}"
            )
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

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping that :meth:`from_json` reads back."""
        return {"kind": "perceptron", **asdict(self)}

    @classmethod
    def from_json(cls, content: Any) -> PerceptronSpec:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: it is not a perceptron's description.
        """
        try:
            if content["kind"] != "perceptron":
                raise InputError(f"unknown kind of network {content['kind']!r}")
            return cls(
                widths=tuple(int(width) for width in content["widths"]),
                activation=str(content["activation"]),
                residual=bool(content["residual"]),
                norm=str(content["norm"]),
                biases=tuple(bool(flag) for flag in content["biases"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the checkpoint's description of its network is damaged ({error})") from error


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
