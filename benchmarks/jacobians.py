"""The change of the layer-to-output Jacobians along a slice, against torch.func's jacrev under vmap.

Two peers: one ``jacrev`` a layer, of everything that follows it, as one would write it, and one ``jacrev`` with
respect to what is added to every layer's input at once, which shares the passes as ours does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from benchmarks.cases import Case, char_transformer, conv_net, images, perceptron
from benchmarks.sameness import same
from benchmarks.timing import Pair, measured
from probes.evaluation.directions import Direction, gradient_direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.measures.jacobians import Jacobians, relative_change
from probes.networks.images import ConvNet
from probes.networks.perceptron import Perceptron
from probes.networks.transformer import CharTransformer

__all__ = ["compare", "jacobians", "places_of"]

_OURS, _BY_LAYER, _AT_ONCE = "probes", "jacrev, layer by layer", "jacrev, all layers at once"
_TOLERANCE = 1e-4
_TARGET = 1.0


def jacobians(repeats: int) -> list[dict[str, Any]]:
    """Each layer's Jacobian change for some sampled examples at each η of a slice, against jacrev under vmap."""
    x, y = images(500)
    sizes = [(perceptron(2, x, y), 8), (perceptron(16, x, y, points=6), 8), (conv_net(x, y), 8)]
    # 8 characters of 256 outputs each: a Jacobian of 2,048 rows
    sizes.append((char_transformer(20, context=8, points=3), 1))
    return [compare(case, repeats, samples=samples) for case, samples in sizes]


@dataclass(frozen=True)
class Place:
    """Where a weight's layer gets its input.

    Attributes:
        weight: the parameter's name.
        module: whose output or input that is.
        output: whether it is its output; otherwise its input.
    """

    weight: str
    module: str
    output: bool = False


def places_of(network: nn.Module) -> list[Place]:
    """One for each Jacobian that is another's neither by name nor by its input.

    Raises:
        TypeError: a network of another kind.
    """
    if isinstance(network, Perceptron):
        return [Place(f"layers.{k}.weight", f"layers.{k}") for k in range(network.spec.depth)]
    if isinstance(network, ConvNet):
        convolutions = [Place(f"layers.{k}.conv.weight", f"layers.{k}") for k in range(len(network.layers))]
        return [*convolutions, Place("head.weight", "head")]
    if isinstance(network, CharTransformer):
        found = []
        for k in range(network.spec.blocks):
            block = f"blocks.{k}"
            found += [
                # queries, keys and values have one input, and are all behind it
                Place(f"{block}.attention.query.weight", f"{block}.attention_norm", output=True),
                Place(f"{block}.attention.project.weight", f"{block}.attention.project"),
                Place(f"{block}.up.weight", f"{block}.up"),
                Place(f"{block}.down.weight", f"{block}.down"),
            ]
        return found
    raise TypeError(f"no layers are known of {type(network).__name__}")


def compare(case: Case, repeats: int, *, samples: int) -> dict[str, Any]:
    """Check that all give the same changes, and time them in turn.

    Raises:
        DifferentNumbersError: they do not.
    """
    evaluator = case.batch()
    direction = gradient_direction(
        evaluator.frozen, evaluator.evaluate(evaluator.frozen, wanted=list(evaluator.frozen)).gradients
    )
    places = places_of(case.network)
    alternatives: dict[str, Callable[[], npt.NDArray[np.float64]]] = {
        _BY_LAYER: lambda: _theirs(case, evaluator, direction, places, samples, _layer_by_layer),
        _AT_ONCE: lambda: _theirs(case, evaluator, direction, places, samples, _at_once),
        _OURS: lambda: _ours(case, evaluator, direction, places, samples),
    }
    found = alternatives[_OURS]()
    agreed = [
        same(f"Jacobian change, {name}", found, alternatives[name](), tolerance=_TOLERANCE, least=1.0)
        for name in (_BY_LAYER, _AT_ONCE)
    ]
    pairs = [Pair(_OURS, _BY_LAYER), Pair(_OURS, _AT_ONCE, _TARGET)]
    timed = measured(alternatives, pairs, repeats=repeats)
    return case.facts() | {"examples": samples, "same": agreed} | timed


def _changes(points: Iterator[Sequence[Tensor]], before: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Relative changes (η, layer, example)."""
    return np.array(
        [
            [relative_change(a, b).double().numpy() for a, b in zip(before, after, strict=True)]
            for after in points
        ]
    )


def _ours(
    case: Case, evaluator: Evaluator, direction: Direction, places: Sequence[Place], samples: int
) -> npt.NDArray[np.float64]:
    weights = [place.weight for place in places]
    probe = Jacobians(evaluator, samples=samples, weights=weights)
    perturbed = PerturbedWeights(evaluator, direction)

    def at(eta: float) -> list[Tensor]:
        found = probe.measure(perturbed.at(eta)).jacobians
        return [found[name] for name in weights]

    before = at(0.0)
    return _changes((at(float(eta)) for eta in case.etas[1:]), before)


_Differentiated = Callable[[nn.Module, Sequence[Place], Tensor], list[Tensor]]


def _theirs(
    case: Case,
    evaluator: Evaluator,
    direction: Mapping[str, Tensor],
    places: Sequence[Place],
    samples: int,
    differentiated: _Differentiated,
) -> npt.NDArray[np.float64]:
    network = copy.deepcopy(case.network).requires_grad_(False)
    parameters = dict(network.named_parameters())

    def at(eta: float) -> list[Tensor]:
        for name, parameter in parameters.items():
            torch.add(evaluator.frozen[name], direction[name], alpha=eta, out=parameter)
        # rows are few, so that float64 costs nothing; ours does the same
        return [found.flatten(1).double() for found in differentiated(network, places, case.x[:samples])]

    before = at(0.0)
    return _changes((at(float(eta)) for eta in case.etas[1:]), before)


@contextmanager
def _added(network: nn.Module, places: Sequence[Place], changes: Sequence[Tensor]) -> Iterator[None]:
    """Inside, ``changes`` are added to what the places get."""

    def on_output(change: Tensor) -> Callable[..., Tensor]:
        return lambda module, arguments, output: output + change

    def on_input(change: Tensor) -> Callable[..., tuple[Tensor]]:
        return lambda module, arguments: (arguments[0] + change,)

    handles = []
    for place, change in zip(places, changes, strict=True):
        module = network.get_submodule(place.module)
        handles.append(
            module.register_forward_hook(on_output(change))
            if place.output
            else module.register_forward_pre_hook(on_input(change))
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _shapes(network: nn.Module, places: Sequence[Place], x: Tensor) -> list[torch.Size]:
    """Of what each place gets for one example."""
    found: list[torch.Size] = []
    handles = []
    for place in places:
        module = network.get_submodule(place.module)
        if place.output:
            handles.append(module.register_forward_hook(lambda m, a, output: found.append(output.shape)))
        else:
            handles.append(module.register_forward_pre_hook(lambda m, a: found.append(a[0].shape)))
    with torch.no_grad():
        network(x[:1])
    for handle in handles:
        handle.remove()
    return found


def _at_once(network: nn.Module, places: Sequence[Place], x: Tensor) -> list[Tensor]:
    """One ``jacrev`` with respect to all changes."""
    zeros = tuple(torch.zeros(shape) for shape in _shapes(network, places, x))

    def outputs(changes: tuple[Tensor, ...], example: Tensor) -> Tensor:
        with _added(network, places, changes):
            return network(example.unsqueeze(0)).flatten()  # type: ignore[no-any-return]

    return list(vmap(jacrev(outputs), in_dims=(None, 0))(zeros, x))


def _layer_by_layer(network: nn.Module, places: Sequence[Place], x: Tensor) -> list[Tensor]:
    """A ``jacrev`` for each layer: of what follows it where layers follow one another, of the network elsewhere."""
    stages = _stages(network)
    if stages is None:
        return [_at_once(network, [place], x)[0] for place in places]
    found, h = [], x
    for k, stage in enumerate(stages):
        found.append(vmap(jacrev(nn.Sequential(*stages[k:])))(h))
        h = vmap(stage)(h)
    return found


def _stages(network: nn.Module) -> list[nn.Module] | None:
    """A network's layers one after another, each for one example; None where it has no such order."""
    if isinstance(network, Perceptron):
        last = network.spec.depth - 1
        return [
            nn.Sequential(layer, nn.ReLU()) if k < last else layer for k, layer in enumerate(network.layers)
        ]
    if isinstance(network, ConvNet):
        side = network.spec.side
        convolutions = [nn.Sequential(layer, nn.ReLU()) for layer in network.layers]
        convolutions[0] = nn.Sequential(nn.Unflatten(0, (1, side, side)), convolutions[0])
        return [*convolutions, nn.Sequential(nn.Flatten(0), network.head)]
    return None
