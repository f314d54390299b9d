"""What a network computes, as steps from its input to its output: what premises and bounds ask of its form.

A structure is data: it is read off a network elsewhere, kept beside its measurements as JSON, and asked here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

from trust.activations import activation, transmission

__all__ = ["Block", "Step", "Structure", "parse_structure"]

KINDS = ("input", "weight", "batch norm", "activation", "map", "sum", "join", "normalisation", "other")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: what it is:

            * ``input``: x, the first step alone.
            * ``weight``: z = W h + b, W a matrix or a convolution; with a ``norm`` the batch norm behind it, in
              evaluation mode, is folded into both.
            * ``batch norm``: s ⊙ h + t in evaluation mode, where it has no weight to be folded into.
            * ``activation``: φ, entry by entry.
            * ``map``: a fixed Lipschitz map: pooling, slicing, padding, scaling; affine or not.
            * ``sum``: of its inputs. ``join``: its inputs side by side.
            * ``normalisation``: layer norm and its like, or batch norm with the batch's own statistics.
            * ``other``: none of these, and not known.
        inputs: places of the steps whose results it takes.
        name: of the tensor W (or s) in the measurements; φ by its name in :mod:`trust.activations`; else words.
        bias: name of the tensor b (or t) in the measurements; of a map any word where 0 does not go to 0.
        norm: name of the folded batch norm's scale.
        form: of a weight: ``vector`` (a matrix applied to one vector an example), ``positions`` (to several) or
            ``convolution``.
        factor: a map's Lipschitz constant.
    """

    kind: str
    inputs: tuple[int, ...] = ()
    name: str = ""
    bias: str = ""
    norm: str = ""
    form: str = ""
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no step is.

        Raises:
            ValueError: an unknown kind, or a factor that no map has.
        """
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of step {self.kind!r}; known: {', '.join(KINDS)}")
        if not 0 <= self.factor < float("inf"):
            raise ValueError(f"a map's factor must be finite and not negative, got {self.factor}")

    @property
    def beta(self) -> float:
        """The Lipschitz constant of an activation or a map."""
        return transmission(self.name).beta if self.kind == "activation" else self.factor

    @property
    def zero_at_zero(self) -> bool:
        """Whether 0 goes to 0."""
        if self.kind == "activation":
            return activation(self.name).zero_at_zero
        return not self.bias and not self.norm and self.kind != "batch norm"


@dataclass(frozen=True)
class Block:
    """A layer φ(Wh + b), or the residual block h + φ(Wh + b).

    Attributes:
        weight: name of W.
        bias: name of b, empty where there is none.
        activation: name of φ.
        skip: whether h is added.
    """

    weight: str
    bias: str
    activation: str
    skip: bool


@dataclass(frozen=True)
class Structure:
    """Steps, each after those it takes from; the last one's result is the output.

    Attributes:
        steps: the input first.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuse steps that are in no order.

        Raises:
            ValueError: a step that takes what comes after it, or a first one that is no input.
        """
        if not self.steps or self.steps[0].kind != "input":
            raise ValueError("a structure starts at its input")
        for place, step in enumerate(self.steps[1:], 1):
            if not step.inputs or not all(0 <= k < place for k in step.inputs):
                raise ValueError(f"step {place} ({step.kind}) must take from steps before it")

    def to_json(self) -> str:
        """One line that :func:`parse_structure` reads back."""
        plain = {field.name: field.default for field in fields(Step)}
        kept = [{k: v for k, v in asdict(step).items() if v != plain[k]} for step in self.steps]
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    @property
    def weights(self) -> list[str]:
        """The weights' names in the order of their use, one that is used twice twice."""
        return [step.name for step in self.steps if step.kind == "weight"]

    @property
    def branches(self) -> bool:
        """Whether a result is taken twice, or a step takes several."""
        return any(step.inputs != (place - 1,) for place, step in enumerate(self.steps) if place > 0)

    @property
    def has_norms(self) -> bool:
        """Whether anything is normalised."""
        return any(step.kind in ("batch norm", "normalisation") or step.norm for step in self.steps)

    @property
    def repeats(self) -> bool:
        """Whether a weight, or a batch norm that stands alone, is used more than once."""
        names = [step.name for step in self.steps if step.kind in ("weight", "batch norm")]
        return len(set(names)) < len(names)

    @property
    def understood(self) -> bool:
        """Whether every step is known and Lipschitz, so that bounds go through it."""
        return all(step.kind not in ("normalisation", "other") for step in self.steps)

    @property
    def is_chain(self) -> bool | None:
        """Whether it is h_k = φ_k(W_k h_{k−1} + b_k), each W_k a matrix or a convolution of its own.

        φ_k may be followed by fixed maps; nothing but W_1 sees the input. None where it cannot be told.
        """
        if self.branches or self.repeats or self.has_norms:
            return False
        if not self.understood:
            return None
        return len(self.steps) > 1 and self.steps[1].kind == "weight"

    @property
    def is_perceptron(self) -> bool | None:
        """Whether it is a chain of matrices, each applied to one vector an example, without other maps."""
        if self.is_chain is not True:
            return self.is_chain
        return all(step.kind != "map" and step.form in ("", "vector") for step in self.steps)

    @cached_property
    def blocks(self) -> list[Block] | None:
        """Its layers and residual blocks, one after another, if it is a chain of these and nothing else.

        Each has a matrix of its own, applied to one vector an example. None where it is no such chain.
        """
        if self.repeats or self.has_norms or len(self.steps) < 2:
            return None
        found: list[Block] = []
        at, place = 0, 1
        while place < len(self.steps):
            weight, φ, skip = self.steps[place], "identity", False
            if weight.kind != "weight" or weight.form not in ("", "vector") or weight.inputs != (at,):
                return None
            end = place
            if self._follows(end, "activation", {end}):
                end += 1
                φ = self.steps[end].name
            if self._follows(end, "sum", {at, end}):
                end += 1
                skip = True
            found.append(Block(weight.name, weight.bias, φ, skip))
            at, place = end, end + 1
        return found

    def _follows(self, place: int, kind: str, inputs: set[int]) -> bool:
        """Whether the next step is of a kind and takes just these."""
        after = self.steps[place + 1 : place + 2]
        return bool(after) and after[0].kind == kind and sorted(after[0].inputs) == sorted(inputs)

    @property
    def has_biases(self) -> bool | None:
        """Whether anything adds a constant; None where it cannot be told."""
        if any(step.bias or step.norm or step.kind == "batch norm" for step in self.steps):
            return True
        return False if self.understood else None

    @cached_property
    def _takers(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in self.steps]
        for place, step in enumerate(self.steps):
            for taken in step.inputs:
                found[taken].append(place)
        return found

    def _behind(self, place: int) -> list[int] | None:
        """What a weight's result goes through up to the next weight, sum or end; None where it forks or is unknown."""
        found: list[int] = []
        while takers := self._takers[place]:
            place = takers[0]
            step = self.steps[place]
            if len(takers) > 1 and any(self.steps[k].kind == "activation" for k in found):
                break
            if len(takers) > 1 or step.kind == "other":
                return None
            if step.kind not in ("activation", "map", "batch norm", "normalisation"):
                break
            found.append(place)
        return found

    @cached_property
    def activations(self) -> dict[str, str]:
        """By weight the name of the one activation behind it, ``identity`` where there is none, empty if unclear."""
        found: dict[str, str] = {}
        for place, step in enumerate(self.steps):
            if step.kind == "weight":
                behind = self._behind(place)
                names = [self.steps[k].name for k in behind or () if self.steps[k].kind == "activation"]
                name = "" if behind is None or len(names) > 1 else (names or ["identity"])[0]
                found[step.name] = name if found.get(step.name, name) == name else ""
        return found

    @cached_property
    def gates(self) -> dict[str, int]:
        """By weight that is used once which of all activations is the only one behind it, counted in their order."""
        numbers = {place: k for k, place in enumerate(self._places("activation"))}
        found: dict[str, int] = {}
        for place in self._places("weight"):
            own = [numbers[k] for k in self._behind(place) or () if k in numbers]
            if len(own) == 1 and self.weights.count(self.steps[place].name) == 1:
                found[self.steps[place].name] = own[0]
        return found

    def _places(self, kind: str) -> list[int]:
        return [place for place, step in enumerate(self.steps) if step.kind == kind]

    @cached_property
    def factors(self) -> dict[str, float]:
        """By weight the product of the Lipschitz constants of the maps behind it."""
        found: dict[str, float] = {}
        for place, step in enumerate(self.steps):
            if step.kind == "weight":
                factor = 1.0
                for k in self._behind(place) or ():
                    factor *= self.steps[k].factor if self.steps[k].kind == "map" else 1.0
                found[step.name] = max(factor, found.get(step.name, 0.0))
        return found

    def renamed(self, names: Mapping[str, str]) -> Structure:
        """The same with other names for its tensors, where there are any."""

        def called(name: str) -> str:
            return names.get(name, name)

        return Structure(
            tuple(
                replace(step, name=called(step.name), bias=called(step.bias), norm=called(step.norm))
                if step.kind in ("weight", "batch norm")
                else step
                for step in self.steps
            )
        )


@lru_cache(maxsize=64)
def parse_structure(text: str) -> Structure | None:
    """The structure that :meth:`Structure.to_json` wrote; None for text that is none."""
    try:
        rows: list[dict[str, Any]] = json.loads(text)
        return Structure(tuple(Step(**{**row, "inputs": tuple(row.get("inputs", ()))}) for row in rows))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
