"""Settings that would measure something else are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from probes import InputError, SliceSettings
from probes.measures.etas import parse_etas
from tests.probes.slices.examples import ETAS


@pytest.mark.parametrize(
    "settings",
    [
        {"etas": np.array([0.1, 0.2])},
        {"etas": np.array([0.0, 0.2, 0.1])},
        {"etas": np.array([0.0])},
        {"direction": "sideways"},
        {"biases": "fix"},
        {"dtype": "float16"},
        {"spectra": "all"},
    ],
)
def test_settings_that_would_measure_something_else_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SliceSettings(**{"etas": ETAS, **settings})


def test_lists_and_single_names_are_taken() -> None:
    settings = SliceSettings(etas=[0, 0.01], perturb="layers.0*", measure=["default", "pattern"])  # type: ignore[arg-type]
    assert settings.etas.dtype == np.float64
    assert settings.etas.tolist() == [0.0, 0.01]
    assert settings.perturb == ("layers.0*",)
    assert settings.measure == ("default", "pattern")
    given = np.array([0.0, 0.5])
    held = SliceSettings(etas=given)
    given[1] = 7.0
    assert held.etas.tolist() == [0.0, 0.5]  # nobody can change it from outside
    np.testing.assert_array_equal(SliceSettings().etas, parse_etas("log"))
    np.testing.assert_array_equal(SliceSettings(etas="0.2").etas, [0, 1e-4, 0.2])
    np.testing.assert_array_equal(replace(held, seed=1).etas, held.etas)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"etas": [0.1, 0.2]}, "`etas`: give a list with 0 first"),
        ({"etas": [0, 0.2, 0.1]}, "`etas`: the grid must increase"),
        ({"etas": [0, np.nan]}, "`etas`: the grid must increase"),
        ({"etas": [[0, 0.1]]}, "`etas`: give a list with 0 first"),
        ({"etas": ["a"]}, "`etas`: give numbers"),
        ({"etas": None}, "`etas`: give a list with 0 first"),
        ({"etas": "0.1,x"}, "`etas='0.1,x'`: not a grid"),
        ({"samples": -1}, "`samples=-1`: must be at least 0"),
        ({"jacobian": -1}, "`jacobian=-1`"),
        ({"pattern": -1}, "`pattern=-1`"),
        ({"split_examples": -1}, "`split_examples=-1`"),
        ({"direction": "sideways"}, "`direction='sideways'`: unknown; known are gradient"),
    ],
)
def test_messages_name_the_setting_as_python_spells_it(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as caught:
        SliceSettings(**settings)
    assert str(caught.value).startswith(part)
