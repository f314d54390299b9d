"""The vocabulary: every entry is whole, a string like any other, and can be copied."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import xarray as xr

from trust import measurements as variables
from trust.measurements import ALL, Variable

UNITS = {
    "1",
    "",
    "loss",
    "weight",
    "loss / weight",
    "input",
    "output",
    "output / input",
    "loss / weight²",
    "weight² / loss",
    "output² / weight²",
    "evaluations",
    "examples",
}


def test_every_entry_is_whole() -> None:
    assert len(ALL) > 50
    for name, variable in ALL.items():
        assert getattr(variables, name.upper()) is variable, name
        assert variable == name
        assert variable.long_name
        assert variable.meaning
        assert set(variable.dims) <= {"checkpoint", "eta", "layer", "example", "quantile", "rank"}, name
        assert len(set(variable.dims)) == len(variable.dims), name
        assert variable.units in UNITS, (name, variable.units)


def test_an_entry_is_a_string_like_any_other() -> None:
    data = xr.Dataset({variables.LOSS: (variables.LOSS.dims, np.zeros((1, 2)))})
    assert data["loss"] is not None
    assert variables.LOSS in data
    assert f"{variables.LOSS}" == "loss"
    assert {"loss": 1}[variables.LOSS] == 1


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
def test_a_copy_knows_the_same(again: object) -> None:
    made = again(variables.GRADIENT_CHANGE)  # type: ignore[operator]
    assert made == "gradient_change"
    assert vars_of(made) == vars_of(variables.GRADIENT_CHANGE)


def vars_of(variable: Variable) -> list[object]:
    return [getattr(variable, name) for name in Variable.__slots__]


def test_a_name_must_be_a_word() -> None:
    with pytest.raises(ValueError, match="two words"):
        Variable("two words", ("checkpoint",), "meaning")


def test_attributes_are_those_of_the_cf_conventions() -> None:
    assert variables.LOSS.attributes == {"long_name": "full-batch mean loss", "units": "loss"}
    assert variables.KIND.attributes == {"long_name": "kind"}
