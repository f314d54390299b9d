"""The study of optimisers at toy size, against closed forms of first steps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from probes.data.dataset import load_data
from studies.frame import run_study
from studies.optimisers import PRESETS, Optimisers


@pytest.mark.parametrize("name", ["agd", "adam", "sam"])
def test_what_a_run_finds(name: str, tmp_path: Path) -> None:
    data = load_data("mnist", examples=1000)
    found = Optimisers().measure(PRESETS["toy"], {"optimizer": name, "seed": 0}, tmp_path, data)
    assert found["step"].values.tolist() == [0, 4, 7, 11]
    assert found["relative"].shape == (4, 3)
    # Lemma 1 holds of any step; losses are of float32 means
    assert (found["descent"] <= found["bound"] + 1e-6).all()
    assert (found["bound"] >= found["predicted"] - 1e-7).all()
    assert (np.sign(found["predicted"]) <= 0).all()
    assert ((found["angle"] >= 0) & (found["angle"] <= 180)).all()
    if name == "agd":  # r_l = (η/L) √(d_k/d_{k−1})/‖W_l‖_F = η/(L √8): all layers have eight singular values
        r = found["relative"][0].values
        np.testing.assert_allclose(r, r[0], rtol=1e-4)
        np.testing.assert_allclose(found["early"][0], r, rtol=1e-6)


def test_first_steps_are_as_long_as_their_rules_say(tmp_path: Path) -> None:
    numbers = run_study("optimisers", "toy", tmp_path, seeds=1, jobs=1, formats=("png",)).numbers
    early = {key.split("/")[0]: value for key, value in numbers.items() if key.endswith("/early/1")}
    assert len(early) == 11
    assert early["lars"] == pytest.approx(0.01, rel=1e-4)
    assert early["lamb"] == pytest.approx(0.01, rel=1e-4)
    # the bracket moves by η, and the factor takes η²/2 along W
    assert early["fromage"] == pytest.approx(0.01, rel=0.01)
    # a factor of exp(±η) for every weight, and η √n/‖W‖_F for steps of η in every entry, of Adam's first step too, with
    # ‖W‖_F = √(d_k/d_{k−1} min(d_k, d_{k−1})); units that no example switches on have no gradient, and stay
    shapes = ((8, 784), (8, 8), (10, 8))
    entries = np.median([0.01 * math.sqrt(m * n / (m / n * min(m, n))) for m, n in shapes])
    for rule, most in (("madam", math.expm1(0.01)), ("signsgd", entries), ("adam", entries)):
        assert 0.8 * most < early[rule] <= most * (1 + 1e-4), rule
    # nearly UVᵀ √max(1, d_k/d_{k−1}), whose singular values are between 0.7 and 1.2
    assert 0.6 * 0.01 < early["muon"] < 1.25 * 0.01
    assert "| Nero |" in (tmp_path / "optimisers.md").read_text()
