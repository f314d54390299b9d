"""Where a network can be cut: its layers, one after another, each given nothing but what the one before it gave."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from trust.structure import Step, Structure

__all__ = ["Layer", "layers_of"]


@dataclass(frozen=True)
class Layer:
    """What lies between two cuts: a weight with all that follows it up to the next, or a block that branches inside.

    Attributes:
        weights: names of its weights in the order of their use, one at least; the first stands for the layer.
        start: the place of the step whose result it is given, 0 for the network's input.
        end: the place of the step whose result it gives.
    """

    weights: tuple[str, ...]
    start: int
    end: int

    @property
    def name(self) -> str:
        """That of its first weight."""
        return self.weights[0]


def layers_of(structure: Structure | None) -> list[Layer] | None:
    """The layers of a chain, the first from the input on, the last to the output.

    A plain layer is φ_k(W_k h + b_k), with pooling, norms and the like that stand behind it; a residual block is one
    layer, h + F(h). Maps before the first weight are in the first layer.

    Returns:
        None where that is not known: a step is not understood, a weight is used twice, or there is no weight.
    """
    if structure is None or structure.repeats or any(step.kind == "other" for step in structure.steps):
        return None
    steps = structure.steps
    cuts = _cuts(steps)
    found: list[Layer] = []
    for before, cut in pairwise(cuts):
        weights = tuple(step.name for step in steps[before + 1 : cut + 1] if step.kind == "weight")
        if weights:
            found.append(Layer(weights, before if found else 0, cut))
        elif found:
            last = found.pop()
            found.append(Layer(last.weights, last.start, cut))
    return found or None


def _cuts(steps: tuple[Step, ...]) -> list[int]:
    """Places through which everything passes: nothing behind takes what was given before."""
    furthest = [0] * len(steps)
    for place, step in enumerate(steps):
        for taken in step.inputs:
            furthest[taken] = place
    found, reach = [], 0
    for place in range(len(steps)):
        if reach <= place:
            found.append(place)
        reach = max(reach, furthest[place])
    return found
