"""Settings that would measure something else are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probes import InputError, SliceSettings
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
