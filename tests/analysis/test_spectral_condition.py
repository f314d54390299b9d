"""The spectral condition's numbers beside what else a run says."""

from __future__ import annotations

import numpy as np

from analysis.spectral_condition import spectral_condition, spectral_condition_table
from tests.analysis.synthetic import measured


def test_numbers_are_per_root_of_the_widths_ratio_beside_a_trainings_steps() -> None:
    data = measured(
        spectral_norm=np.array([[2.0, 3.0]]), direction_spectral_norm=0.5, rows=[4, 1], columns=[1, 4]
    )
    found = spectral_condition(data.assign_coords(step=("checkpoint", [7.0])))
    assert found is not None
    np.testing.assert_allclose(found["weight"], [[1.0, 6.0]])
    np.testing.assert_allclose(found["direction"], [[0.25, 1.0]])
    assert found["stable_rank"].isnull().all()
    assert spectral_condition_table(found)[1] == ["c0", "1 to 6", "0.25 to 1", "–"]
