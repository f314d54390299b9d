"""Which parameter tensors a module has, of which kind each is, and what a slice does with it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from probes.errors import InputError, mention
from probes.evaluation.evaluator import Evaluator
from probes.measures.forward_order import forward_order, owner_of
from probes.networks.hugging_face import is_transposed_linear

__all__ = [
    "EXCLUDED",
    "FIXED",
    "FROZEN",
    "PERTURBED",
    "UNUSED",
    "Layer",
    "find_layers",
    "treated",
]


PERTURBED = "perturbed"
FROZEN = "left alone: frozen"
UNUSED = "left alone: unused"
EXCLUDED = "left alone: excluded by perturb"
FIXED = "left alone: biases fixed"

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_OLD_SUFFIXES = {"WeightNorm": ("_g", "_v"), "SpectralNorm": ("_orig",)}
"""What the hooks of torch.nn.utils.weight_norm and spectral_norm call their originals."""


@dataclass(frozen=True)
class Layer:
    """A parameter tensor.

    Attributes:
        name: in the module; of several names for one tensor the first registered.
        reported: the name in results.
        owner: path of the module that holds it (of a parametrised tensor: the module that it parametrises).
        owner_type: that module's class.
        kind: linear, convolution, transposed convolution, embedding, attention packed projection, recurrent
            weight, normalisation, bias, parametrised original or other.
        shape: its shape.
        aliases: the other names of the same tensor, which is perturbed once.
        matrix: whether by its kind and shape it is a weight matrix.
        trainable: whether it requires a gradient.
        used: whether the loss depends on it as far as a few examples show; None where nothing was passed through.
        uses: how often the forward pass of an example uses it, as far as that can be seen; at least 1.
        treatment: what a slice does with it.
        note: what is peculiar to it, in words.
    """

    name: str
    reported: str
    owner: str
    owner_type: str
    kind: str
    shape: tuple[int, ...]
    aliases: tuple[str, ...]
    matrix: bool
    trainable: bool
    used: bool | None
    treatment: str = PERTURBED
    note: str = ""
    uses: int = 1

    @property
    def is_weight(self) -> bool:
        """Whether it counts towards L: a weight matrix that the network uses, moving or not."""
        return self.matrix and self.used is not False

    def to_json(self) -> dict[str, Any]:
        """As ``probe layers --json`` prints it."""
        return {
            "name": self.reported,
            "module": self.owner,
            "module_type": self.owner_type,
            "kind": self.kind,
            "shape": list(self.shape),
            "aliases": list(self.aliases),
            "is_weight": self.is_weight,
            "uses": self.uses,
            "trainable": self.trainable,
            "used": self.used,
            "treatment": self.treatment,
            "note": self.note,
        }


def find_layers(
    network: nn.Module, evaluator: Evaluator | None = None, reported: Mapping[str, str] | None = None
) -> list[Layer]:
    """Every parameter tensor once, in forward order, all to be perturbed; :func:`treated` decides otherwise.

    Args:
        network: any module; it is left as it was inside :func:`probes.evaluation.frozen_state.probing`.
        evaluator: the network, its data and loss, for a pass of two examples; None: the order of registration,
            and nothing is known of use.
        reported: the names in results, by the module's names (default: the same).
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    names: dict[int, list[str]] = {}
    parameters: dict[str, nn.Parameter] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        parameters.setdefault(names[id(parameter)][0], parameter)
    seen = None if evaluator is None else forward_order(network, evaluator)
    found = []
    for name in parameters if seen is None else seen.names:
        parameter = parameters[name]
        aliases = names[id(parameter)][1:]
        described = [_described(modules, path, parameter) for path in (name, *aliases)]
        kind, matrix, note = described[0]
        notes = [note] if note else []
        if aliases:
            others = sorted({other[0] for other in described} - {kind})
            also = f" (also {', '.join(others)})" if others else ""
            notes.append(f"one tensor under several names{also}, perturbed once")
        owner = owner_of(name)
        found.append(
            Layer(
                name=name,
                reported=(reported or {}).get(name, name),
                owner=owner,
                owner_type=parametrize.type_before_parametrizations(modules[owner]).__name__,
                kind=kind,
                shape=tuple(parameter.shape),
                aliases=tuple(aliases),
                matrix=matrix or any(other[1] for other in described),
                trainable=parameter.requires_grad,
                used=None if seen is None else name in seen.used,
                note="; ".join(notes),
                uses=1 if seen is None else seen.uses.get(name, 1),
            )
        )
    return found


def treated(
    layers: Iterable[Layer], *, perturb: tuple[str, ...] = ("*",), biases: str = "move"
) -> list[Layer]:
    """Decide what a slice does with each tensor.

    Args:
        layers: what was found.
        perturb: globs over reported names and aliases; a tensor that none matches is left alone.
        biases: ``fixed`` leaves all alone that are no weight matrices.

    Raises:
        InputError: a glob that matches nothing.
    """
    layers = list(layers)
    for glob in perturb:
        if not any(_matches(layer, glob) for layer in layers):
            known = ", ".join(layer.reported for layer in layers[:6])
            raise InputError(f"{mention('perturb', glob)}: matches no parameter (there are {known}, …)")

    def treatment(layer: Layer) -> str:
        if not layer.trainable:
            return FROZEN
        if layer.used is False:
            return UNUSED
        if not any(_matches(layer, glob) for glob in perturb):
            return EXCLUDED
        return FIXED if biases == "fixed" and not layer.is_weight else PERTURBED

    return [replace(layer, treatment=treatment(layer)) for layer in layers]


def _matches(layer: Layer, glob: str) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for name in (layer.reported, *layer.aliases))


def _described(modules: Mapping[str, nn.Module], name: str, parameter: Tensor) -> tuple[str, bool, str]:
    """Kind, whether it is a weight matrix, and a note."""
    path, _, leaf = name.rpartition(".")
    holder, owner = modules[path], modules[owner_of(name)]
    if isinstance(holder, parametrize.ParametrizationList):
        target = path.rpartition(".")[2]
        kinds = [type(step).__name__.strip("_") for step in holder]
        _, matrix, _ = _plain(owner, target, parameter)
        alone = leaf == "original"
        if not alone:
            matrix = leaf == "original1" if kinds[0] == "WeightNorm" else matrix and _spans(parameter)
        return (
            "parametrised original",
            matrix,
            f"{leaf} of {target} ({', '.join(kinds)}): moves by its own norm",
        )
    for hook in owner._forward_pre_hooks.values():
        for suffix in _OLD_SUFFIXES.get(type(hook).__name__, ()):
            target = str(getattr(hook, "name", ""))
            if leaf == target + suffix:
                matrix = suffix != "_g" and _plain(owner, target, parameter)[1]
                note = f"original of {target} ({type(hook).__name__}): moves by its own norm"
                return "parametrised original", matrix, note
    return _plain(owner, leaf, parameter)


def _plain(owner: nn.Module, leaf: str, parameter: Tensor) -> tuple[str, bool, str]:
    """The same of a tensor that a module of type ``owner`` holds as ``leaf``."""
    large = parameter.ndim >= 2
    if isinstance(owner, _NORMS) or (parameter.ndim == 1 and "norm" in type(owner).__name__.lower()):
        return "normalisation", False, ""
    if leaf.startswith("bias") or leaf == "in_proj_bias":
        return "bias", False, ""
    if isinstance(owner, nn.MultiheadAttention):
        packed = leaf == "in_proj_weight"
        note = "the query's, key's and value's maps, stacked: one tensor" if packed else ""
        return "attention packed projection" if packed else "linear", large, note
    if isinstance(owner, _RECURRENT):
        return "recurrent weight", large, ""
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return "embedding", large, ""
    if isinstance(owner, _ConvNd):
        return "transposed convolution" if isinstance(owner, _ConvTransposeNd) else "convolution", large, ""
    if isinstance(owner, nn.Linear | nn.Bilinear):
        return "linear", large, ""
    if is_transposed_linear(owner):
        return "linear", large, "stored transposed, inputs × outputs"
    if _spans(parameter):
        return (
            "other",
            True,
            "held by a module of its own kind: counts as a matrix, like a learned positional table",
        )
    return "other", False, ""


def _spans(tensor: Tensor) -> bool:
    """Whether at least two of its axes are longer than one."""
    return sum(size > 1 for size in tensor.shape) >= 2
