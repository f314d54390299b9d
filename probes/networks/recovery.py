"""Perceptrons recovered from bare tensors: their shapes and names spell the layers, in order, and the biases."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from probes.errors import InputError
from probes.networks.perceptron import PerceptronSpec
from probes.networks.specs import MOST_LAYERS
from probes.system.files import natural_key

__all__ = ["recover_perceptron"]

_MOST_STEPS = 3_000_000  # matrices that are looked at in search of their order


def recover_perceptron(
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
        raise InputError(
            f"no plain perceptron has a tensor {odd[0]}; give the network as `network='file.py:callable'`"
        )
    names = list(tensors)
    matrices = [name for name in names if tensors[name].ndim == 2]
    if len(matrices) > MOST_LAYERS:
        raise InputError(
            f"it has more than {MOST_LAYERS} matrices; give the network as `network='file.py:callable'`"
        )
    if len(names) > 2 * len(matrices) > 0:
        raise InputError(
            "it has more vectors than biases (norm layers, perhaps); give the network as `network='file.py:callable'`"
        )
    if not matrices:
        raise InputError("there is no weight matrix in it; give the network as `network='file.py:callable'`")
    if not (ordered and _chains(tensors, matrices)):
        matrices = _unique_chain(tensors, matrices)
    owners = _bias_owners(tensors, names, matrices, ordered=ordered)
    widths = [int(tensors[matrices[0]].shape[1])] + [int(tensors[name].shape[0]) for name in matrices]
    if activation is None:
        if len(matrices) > 1:
            raise InputError(
                "the tensors do not tell the activation: add `activation='relu'` (or tanh, gelu, …)"
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
    parts = {name: (_words(name), _numbers(name)) for name in matrices}
    earlier = {
        name: {other for other in matrices if parts[other][0] == words and parts[other][1] < numbers}
        for name, (words, numbers) in parts.items()
    }
    path: list[str] = []
    levels = [iter([name for name in matrices if not earlier[name]])]  # what may come at each place
    steps = 0
    while levels and len(found) < 2 and steps < _MOST_STEPS:
        steps += len(matrices)
        following = next(levels[-1], None)
        if following is None:
            levels.pop()
            del path[-1:]
            continue
        path.append(following)
        if len(path) == len(matrices):
            found.append(path.copy())
        rows, before = tensors[following].shape[0], set(path)
        fits = [
            name
            for name in matrices
            if name not in before and tensors[name].shape[1] == rows and earlier[name] <= before
        ]
        levels.append(iter(fits))
    if len(found) == 1 and not levels:
        return found[0]
    shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in matrices[:4])
    why = "in more than one order" if found else "in no order"
    raise InputError(f"the matrices {shapes} chain {why}; give the network as `network='file.py:callable'`")


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
    numbers = {name: _numbers(name) for name in matrices}
    for position, vector in enumerate(names):
        if tensors[vector].ndim != 1:
            continue
        prefix = vector.rpartition(".")[0]
        owner = by_prefix.get(prefix) if prefix and len(by_prefix) == len(matrices) else None
        if owner is None:
            owner = _similar_owner(vector, tensors, numbers)
        if owner is None and ordered:
            owner = next((name for name in reversed(names[:position]) if name in numbers), None)
        if owner is None:
            fits = [name for name in matrices if tensors[name].shape[0] == tensors[vector].shape[0]]
            owner = fits[0] if len(fits) == 1 else None
        scales = _leaf(vector) in weights and not _leaf(vector).isdecimal()  # a norm layer's: it multiplies
        if owner is None or scales or owner in owners or tensors[vector].shape[0] != tensors[owner].shape[0]:
            raise InputError(
                f"{vector} {tuple(tensors[vector].shape)} is no layer's bias in a plain perceptron"
                " (a norm layer, perhaps); give the network as `network='file.py:callable'`"
            )
        owners[owner] = vector
    return owners


def _similar_owner(
    vector: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, list[int]]
) -> str | None:
    """The one matrix with the vector's length and the same numbers in its name (W1 and b1)."""
    own, length = _numbers(vector), tensors[vector].shape[0]
    fits = [name for name, other in numbers.items() if own == other and tensors[name].shape[0] == length]
    return fits[0] if own and len(fits) == 1 else None
