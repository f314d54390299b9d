"""Structures: what is asked of them, and that they come back from text as they were."""

from __future__ import annotations

import pytest

from trust.structure import Block, Step, Structure, parse_structure

CHAIN = Structure(
    (
        Step("input"),
        Step("weight", (0,), "a", "a.bias", form="vector"),
        Step("activation", (1,), "leaky_relu:0.1"),
        Step("map", (2,), "avg_pool2d", factor=0.25),
        Step("weight", (3,), "b", form="vector"),
    )
)
BLOCK = Structure(
    (
        Step("input"),
        Step("weight", (0,), "a", norm="n", form="convolution"),
        Step("activation", (1,), "relu"),
        Step("weight", (2,), "b", form="convolution"),
        Step("sum", (2, 3)),
        Step("activation", (4,), "relu"),
        Step("weight", (5,), "c"),
    )
)


@pytest.mark.parametrize("structure", [CHAIN, BLOCK, Structure((Step("input"),))])
def test_text_and_back(structure: Structure) -> None:
    assert parse_structure(structure.to_json()) == structure


@pytest.mark.parametrize(
    "text", ["", "{}", "nan", "[]", "[1]", '[{"kind":"input"},{"kind":"input"}]', '[{"kind":"weight"}]',
             '[{"kind":"input"}], [{"kind":"input"}]', '[{"kind":"input"},{"kind":"new","inputs":[0]}]',
             '[{"kind":"input"},{"kind":"map","inputs":[0],"factor":-1}]',
             '[{"kind":"input"},{"kind":"map","inputs":[1]}]', '[{"kind":"input","extra":1}]'],
)  # fmt: skip
def test_text_that_is_no_structure_is_none(text: str) -> None:
    assert parse_structure(text) is None


def test_what_follows_each_weight() -> None:
    assert CHAIN.activations == {"a": "leaky_relu:0.1", "b": "identity"}
    assert CHAIN.factors == {"a": 0.25, "b": 1.0}
    assert CHAIN.gates == {"a": 0}
    # relu's result is taken twice, but there is no doubt what follows a; b's goes into a sum
    assert BLOCK.activations == {"a": "relu", "b": "identity", "c": "identity"}
    assert BLOCK.gates == {"a": 0}


def test_what_is_unclear_is_empty() -> None:
    fork = (Step("input"), Step("weight", (0,), "a"), Step("activation", (1,), "relu"), Step("sum", (1, 2)))
    assert Structure(fork).activations == {"a": ""}
    two = (
        Step("input"),
        Step("weight", (0,), "a"),
        Step("activation", (1,), "relu"),
        Step("activation", (2,), "tanh"),
    )
    assert Structure(two).activations == {"a": ""}
    shared = (*two[:3], Step("weight", (2,), "a"))
    assert Structure(shared).activations == {"a": ""}
    assert Structure(shared).gates == {}


RESIDUAL = (
    Step("input"),
    Step("weight", (0,), "a", "a.bias", form="vector"),
    Step("activation", (1,), "relu"),
    Step("weight", (2,), "b"),
    Step("activation", (3,), "relu"),
    Step("sum", (2, 4)),
    Step("weight", (5,), "c"),
    Step("sum", (5, 6)),
    Step("weight", (7,), "d"),
)


def test_layers_and_residual_blocks_are_told_apart() -> None:
    assert Structure(RESIDUAL).blocks == [
        Block("a", "a.bias", "relu", False),
        Block("b", "", "relu", True),
        Block("c", "", "identity", True),
        Block("d", "", "identity", False),
    ]
    assert Structure((Step("input"), Step("weight", (0,), "a"))).blocks == [Block("a", "", "identity", False)]


@pytest.mark.parametrize(
    ("place", "other"),
    [
        (2, Step("map", (1,), "pool")),
        (3, Step("weight", (2,), "a")),  # used twice
        (3, Step("weight", (2,), "b", norm="n")),
        (3, Step("weight", (2,), "b", form="convolution")),
        (3, Step("weight", (0,), "b")),
        (5, Step("sum", (3, 4))),  # not its own input
        (5, Step("sum", (2, 2, 4))),
        (7, Step("sum", (2, 6))),
        (8, Step("weight", (6,), "d")),
    ],
)
def test_anything_else_is_no_chain_of_blocks(place: int, other: Step) -> None:
    assert Structure((*RESIDUAL[:place], other, *RESIDUAL[place + 1 :])).blocks is None
    assert CHAIN.blocks is BLOCK.blocks is Structure((Step("input"),)).blocks is None


def test_biases() -> None:
    assert CHAIN.has_biases is True
    assert BLOCK.has_biases is True  # the batch norm's
    plain = (Step("input"), Step("weight", (0,), "a"))
    assert Structure(plain).has_biases is False
    assert Structure((*plain, Step("other", (1,), "?"))).has_biases is None
    assert Structure((*plain, Step("map", (1,), "add", "constant"))).has_biases is True


def test_other_names() -> None:
    named = BLOCK.renamed({"a": "first", "n": "norm", "relu": "not an activation's"})
    assert named.steps[1] == Step("weight", (0,), "first", norm="norm", form="convolution")
    assert named.steps[2] == BLOCK.steps[2]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="starts at its input"):
        Structure(())
    with pytest.raises(ValueError, match="steps before it"):
        Structure((Step("input"), Step("sum", (0, 1))))
    with pytest.raises(ValueError, match="unknown kind"):
        Step("layer")
    with pytest.raises(ValueError, match="factor"):
        Step("map", (0,), factor=float("inf"))
