"""The kinds of network that there are: a description read, the module it describes built, and the names of some."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from probes.errors import InputError
from probes.networks.images import ConvNet, ConvSpec, ResidualNet, ResidualSpec
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.networks.specs import NetworkSpec
from probes.networks.transformer import CharTransformer, TransformerSpec

__all__ = ["build", "read_spec", "spec_of"]


_KINDS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    PerceptronSpec.kind: (PerceptronSpec, Perceptron),
    ConvSpec.kind: (ConvSpec, ConvNet),
    ResidualSpec.kind: (ResidualSpec, ResidualNet),
    TransformerSpec.kind: (TransformerSpec, CharTransformer),
}


def read_spec(content: Any) -> NetworkSpec:
    """The description that ``to_json`` of any kind wrote.

    Raises:
        InputError: it is none.
    """
    kind = content.get("kind") if isinstance(content, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"unknown kind of network {reprlib.repr(kind)}; known are {', '.join(_KINDS)}")
    spec: NetworkSpec = _KINDS[kind][0].from_json(content)
    return spec


def build(spec: NetworkSpec) -> nn.Module:
    """The module that ``spec`` describes, with random weights."""
    return next(module(spec) for made, module in _KINDS.values() if type(spec) is made)


def spec_of(network: nn.Module) -> NetworkSpec | None:
    """The description of a network of ours; None of any other."""
    if type(network) not in {module for _, module in _KINDS.values()}:
        return None
    spec: NetworkSpec = network.spec  # type: ignore[assignment]
    return spec
