"""Where a network can be cut into layers, and where it cannot."""

from __future__ import annotations

import pytest

from tests.trust.test_structure import BLOCK, CHAIN
from trust.layers import Layer, layers_of
from trust.structure import Step, Structure


def test_a_plain_layer_is_a_weight_with_what_follows_it() -> None:
    assert layers_of(CHAIN) == [Layer(("a",), 0, 3), Layer(("b",), 3, 4)]


def test_a_residual_block_is_one_layer_with_the_activation_behind_its_sum() -> None:
    assert layers_of(BLOCK) == [Layer(("a",), 0, 2), Layer(("b",), 2, 5), Layer(("c",), 5, 6)]


def test_a_block_of_several_weights_is_named_by_the_first_and_a_map_in_front_is_in_the_first_layer() -> None:
    structure = Structure(
        (
            Step("input"),
            Step("map", (0,), "mul", factor=2.0),
            Step("weight", (1,), "a"),
            Step("normalisation", (2,), "layer_norm"),
            Step("weight", (3,), "b"),
            Step("activation", (4,), "tanh"),
            Step("weight", (5,), "c"),
            Step("sum", (2, 6)),
        )
    )
    found = layers_of(structure)
    assert found == [Layer(("a",), 0, 2), Layer(("b", "c"), 2, 7)]
    assert found[1].name == "b"


@pytest.mark.parametrize(
    "structure",
    [
        None,
        Structure((Step("input"),)),
        Structure((Step("input"), Step("activation", (0,), "relu"))),
        Structure((Step("input"), Step("weight", (0,), "a"), Step("other", (1,), "fft"))),
        Structure((Step("input"), Step("weight", (0,), "a"), Step("weight", (1,), "a"))),
    ],
)
def test_what_is_no_chain_of_known_layers_has_none(structure: Structure | None) -> None:
    assert layers_of(structure) is None
