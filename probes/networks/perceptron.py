"""Perceptrons: the paper's networks, as a module, as a description, and recovered from bare tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.choices import check_choice
from probes.errors import InputError
from probes.system.files import natural_key

__all__ = ["ACTIVATIONS", "Perceptron", "PerceptronSpec", "infer_perceptron", "parse_activation"]

ACTIVATIONS: dict[str, tuple[Any, float | None]] = {
    # name: (function of z and the parameter, the parameter's default or None where there is none)
    "identity": (lambda z, _: z, None),
    "relu": (lambda z, _: functional.relu(z), None),
    "leaky_relu": (lambda z, slope: functional.leaky_relu(z, slope), 0.01),
    "tanh": (lambda z, _: torch.tanh(z), None),
    "sigmoid": (lambda z, _: torch.sigmoid(z), None),
    "gelu": (lambda z, _: functional.gelu(z), None),
    "gelu_tanh": (lambda z, _: functional.gelu(z, approximate="tanh"), None),
    "silu": (lambda z, _: functional.silu(z), None),
    "elu": (lambda z, alpha: functional.elu(z, alpha), 1.0),
    "selu": (lambda z, _: functional.selu(z), None),
    "softplus": (lambda z, beta: functional.softplus(z, beta), 1.0),
    "mish": (lambda z, _: functional.mish(z), None),
}


def parse_activation(spec: str) -> tuple[str, float | None]:
    """Split ``name`` or ``name:parameter`` and check both.

    Raises:
        InputError: an unknown name, or a parameter that does not fit.
    """
    name, separator, text = spec.partition(":")
    if name not in ACTIVATIONS:
        raise InputError(f"--activation {spec}: unknown; known are {', '.join(ACTIVATIONS)}")
    default = ACTIVATIONS[name][1]
    if not separator:
        return name, default
    try:
        parameter = float(text)
    except ValueError:
        parameter = math.nan
    if default is None or not math.isfinite(parameter):
        raise InputError(f"--activation {spec}: write it as name, or name:number where it has a parameter")
    return name, parameter


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
        name, self._parameter = parse_activation(spec.activation)
        self._function = ACTIVATIONS[name][0]

    def activation(self, z: Tensor) -> Tensor:
        """φ, elementwise."""
        return self._function(z, self._parameter)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n, d_L)."""
        return self.trace(x)[0]

    def trace(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The outputs (n, d_L), and z_k (n, d_k), the arguments of φ, for each hidden layer k."""
        h = x.flatten(1)
        preactivations: list[Tensor] = []
        last = len(self.layers) - 1
        for k, layer in enumerate(self.layers):
            z = layer(h)
            if k == last:
                return z, preactivations
            if self.norms is not None:
                z = self.norms[k](z)
            preactivations.append(z)
            a = self.activation(z)
            h = h + a if self.spec.residual and a.shape == h.shape else a
        raise AssertionError("unreachable: a perceptron has a last layer")


def infer_perceptron(
    tensors: Mapping[str, Tensor], *, activation: str | None, residual: bool = False, ordered: bool = True
) -> tuple[PerceptronSpec, dict[str, str]]:
    """Work out the plain perceptron whose weights and biases ``tensors`` are.

    The matrices, in the order of the file, must chain: each has as many columns as the one before has rows.
    Where that order tells nothing, they must chain in one order alone, in which names that differ only in
    their numbers come in the order of these. A vector is the bias of the matrix whose name starts
    like its own, or has the same numbers, or else of the matrix just before it.

    Args:
        tensors: names to tensors, as in a state_dict.
        activation: φ of the hidden layers; it cannot be seen in the tensors.
        residual: whether hidden layers of equal width add their input; this cannot be seen either.
        ordered: whether the mapping's order is that of the network (a safetensors file's is not).

    Returns:
        The description, and a mapping of the names in ``tensors`` to those of :class:`Perceptron`.

    Raises:
        InputError: no plain perceptron explains the tensors, or ``activation`` is needed and missing.
    """
    odd = [f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if tensor.ndim not in (1, 2)]
    if odd:
        raise InputError(f"no plain perceptron has a tensor {odd[0]}; give the network with --network")
    names = list(tensors)
    matrices = [name for name in names if tensors[name].ndim == 2]
    if not matrices:
        raise InputError("there is no weight matrix in it; give the network with --network")
    if not (ordered and _chains(tensors, matrices)):
        matrices = _unique_chain(tensors, matrices)
    owners = _bias_owners(tensors, names, matrices, ordered=ordered)
    widths = [int(tensors[matrices[0]].shape[1])] + [int(tensors[name].shape[0]) for name in matrices]
    if activation is None:
        if len(matrices) > 1:
            raise InputError(
                "the tensors do not tell the activation: add --activation relu (or tanh, gelu, …)"
            )
        activation = "identity"
    spec = PerceptronSpec(
        widths=tuple(widths),
        activation=activation,
        residual=residual,
        biases=tuple(name in owners for name in matrices),
    )
    mapping = {name: f"layers.{k}.weight" for k, name in enumerate(matrices)}
    mapping |= {owners[name]: f"layers.{k}.bias" for k, name in enumerate(matrices) if name in owners}
    return spec, mapping


def _chains(tensors: Mapping[str, Tensor], matrices: list[str]) -> bool:
    shapes = [tensors[name].shape for name in matrices]
    return all(after[1] == before[0] for before, after in pairwise(shapes))


def _unique_chain(tensors: Mapping[str, Tensor], matrices: list[str]) -> list[str]:
    """The only order in which the matrices chain and names that differ in numbers alone are in their order.

    Raises:
        InputError: there is none, or more than one.
    """
    found: list[list[str]] = []
    earlier = {
        name: {
            other for other in matrices if _words(other) == _words(name) and _numbers(other) < _numbers(name)
        }
        for name in matrices
    }
    stack: list[list[str]] = [[name] for name in matrices if not earlier[name]]
    steps = 0
    while stack and len(found) < 2 and steps < 100_000:
        steps += 1
        path = stack.pop()
        if len(path) == len(matrices):
            found.append(path)
            continue
        rows = tensors[path[-1]].shape[0]
        stack += [
            [*path, name]
            for name in matrices
            if name not in path and tensors[name].shape[1] == rows and earlier[name] <= set(path)
        ]
    if len(found) == 1 and not stack:
        return found[0]
    shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in matrices[:4])
    why = "in more than one order" if found else "in no order"
    raise InputError(f"the matrices {shapes} chain {why}; give the network with --network")


def _words(name: str) -> str:
    """The name without its numbers."""
    return "".join(text if kind else "#" for kind, _, text in natural_key(name))


def _numbers(name: str) -> list[int]:
    """The numbers in the name."""
    return [number for kind, number, _ in natural_key(name) if kind == 0]


def _leaf(name: str) -> str:
    """The part after the last dot."""
    return name.rpartition(".")[2]


def _bias_owners(
    tensors: Mapping[str, Tensor], names: list[str], matrices: list[str], *, ordered: bool
) -> dict[str, str]:
    """Which vector is the bias of which matrix.

    Raises:
        InputError: a vector that is nobody's bias.
    """
    owners: dict[str, str] = {}
    by_prefix = {name.rpartition(".")[0]: name for name in matrices}
    weights = {"gamma", "scale", "weight", *(_leaf(name) for name in matrices)}
    for position, vector in enumerate(names):
        if tensors[vector].ndim != 1:
            continue
        prefix = vector.rpartition(".")[0]
        owner = by_prefix.get(prefix) if prefix and len(by_prefix) == len(matrices) else None
        if owner is None:
            owner = _similar_owner(vector, tensors, matrices)
        if owner is None and ordered:
            owner = next((name for name in reversed(names[:position]) if name in matrices), None)
        if owner is None:
            fits = [name for name in matrices if tensors[name].shape[0] == tensors[vector].shape[0]]
            owner = fits[0] if len(fits) == 1 else None
        scales = _leaf(vector) in weights and not _leaf(vector).isdecimal()  # a norm layer's: it multiplies
        if owner is None or scales or owner in owners or tensors[vector].shape[0] != tensors[owner].shape[0]:
            raise InputError(
                f"{vector} {tuple(tensors[vector].shape)} is no layer's bias in a plain perceptron"
                " (a norm layer, perhaps); give the network with --network"
            )
        owners[owner] = vector
    return owners


def _similar_owner(vector: str, tensors: Mapping[str, Tensor], matrices: list[str]) -> str | None:
    """The one matrix with the vector's length and the same numbers in its name (W1 and b1)."""
    numbers = _numbers(vector)
    fits = [
        name
        for name in matrices
        if numbers and tensors[name].shape[0] == tensors[vector].shape[0] and _numbers(name) == numbers
    ]
    return fits[0] if len(fits) == 1 else None
