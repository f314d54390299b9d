"""Automatic gradient descent's majorisation: both sides, and each premise alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from analysis import Status
from tests.trust.claims.examples import CLAIMS, status, verdict
from tests.trust.claims.slices import Array, case_of, measured, network_of, states, top, with_values


def test_agd_sides_agree_with_plain_numpy() -> None:
    case = case_of((4, 4, 3), "tanh", direction="noise")
    left = CLAIMS["agd-majorisation"].measured(case.found).isel(checkpoint=0)
    right = CLAIMS["agd-majorisation"].bound(case.found).isel(checkpoint=0)
    count, L, dL = len(case.x), case.depth, 3

    def loss(chain: list[tuple[Array, Array]]) -> Any:
        ends = [states(case, chain, case.x[e])[-1] for e in range(count)]
        return sum(np.sum((end - y) ** 2) / (2 * dL) for end, y in zip(ends, case.y, strict=True)) / count

    for row in range(1, 5):
        steps = [V - W for (W, _), (V, _) in zip(case.before, case.after[row], strict=True)]
        t = 1e-5  # a central difference along ΔW, good to 1e-10 of a slope of order 1
        up, down = (
            loss([(W + s * D, b) for (W, b), D in zip(case.before, steps, strict=True)]) for s in (t, -t)
        )
        expected = loss(case.after[row]) - loss(case.before) - (up - down) / (2 * t)
        if expected > 0:
            assert 10.0 ** float(left[row - 1]) == pytest.approx(expected, rel=1e-4, abs=1e-9)
        else:
            assert np.isnan(left[row - 1])
        eta = L * max(top(D) * (D.shape[1] / D.shape[0]) ** 0.5 for D in steps)
        assert 10.0 ** float(right[row - 1]) == pytest.approx(0.5 * (np.exp(eta) - 1) ** 2, rel=1e-10)
    assert left.notnull().any()


def rotation(first: int, second: int, size: int = 4) -> Tensor:
    """Orthogonal: swaps two unit vectors."""
    order = list(range(size))
    order[first], order[second] = order[second], order[first]
    return torch.eye(size, dtype=torch.float64)[order]


def majorised(
    *, weight: float = 1.0, x_scale: float = 1.0, y_scale: float = 1.0, second: float = 1.0, y: int = 1,
    activation: str = "identity", **settings: Any,
) -> xr.Dataset:  # fmt: skip
    """Every premise met: W_k = I (4 × 4), ‖x‖ = ‖y‖ = 2, ΔW_k = η·(orthogonal), ΔW_2ΔW_1 x ⟂ f − y."""
    network = network_of((4, 4, 4), activation)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(weight * torch.eye(4))
    basis = 2 * torch.eye(4, dtype=torch.float64)
    x, targets = x_scale * basis[[0, 0, 0]], y_scale * basis[[y] * 3]
    x[1], targets[1] = -x[1], -targets[1]
    # R_1 e_0 = e_2 and R_2 e_2 = e_2, so that ΔW_2ΔW_1 x is along e_2, and f − y along e_0 and e_1
    steps = {"layers.0.weight": rotation(0, 2), "layers.1.weight": second * rotation(0, 1)}
    following = {name: p.detach() + steps[name] for name, p in network.named_parameters()}
    settings.setdefault("etas", np.array([0.0, 0.01, 0.05, 0.2]))
    return measured(network, x, targets, direction="update", following=following, **settings).found


AGD = "agd-majorisation"


def test_the_majorisation_holds_where_every_premise_does() -> None:
    found = majorised()
    verdicts = verdict(AGD, found)
    assert verdicts.premises == dict.fromkeys((p.name for p in CLAIMS[AGD].premises), True)
    assert (verdicts.status, verdicts.remark) == (Status.HOLDS, "")
    # ½‖Δf‖²/4 with Δf = η·2e_2 + η·2e_1 + η²·2e_2, against ½(e^{2η} − 1)²
    eta = 0.2
    left = 0.5 * ((eta + eta**2) ** 2 + eta**2)
    assert 10.0 ** float(CLAIMS[AGD].measured(found)[0, -1]) == pytest.approx(left, rel=1e-9)
    assert 10.0 ** float(CLAIMS[AGD].bound(found)[0, -1]) == pytest.approx(0.5 * np.expm1(0.4) ** 2, rel=1e-9)
    raised = found.copy()
    raised["loss"] = found["loss"] + (found["eta"] == 0.2) * (np.expm1(0.4) ** 2)
    again = verdict(AGD, raised)
    assert again.status is Status.REFUTED
    assert again.worst_at["eta"] == 0.2


def test_the_majorisation_refutes_no_more_than_tolerances_and_noise_allow() -> None:
    found = majorised()
    eta = found["eta"]
    start, slope = found["loss"].isel(eta=0, drop=True), found["slope_at_zero"]
    exactly = np.expm1(2 * eta) ** 2
    for factor, expected in ((1.0, Status.HOLDS), (1.02, Status.HOLDS), (1.04, Status.REFUTED)):
        line = (start + eta * slope + factor * exactly).transpose(*found["loss"].dims)
        assert status(AGD, found.assign(loss=line)) is expected, factor
    noisy = with_values(found, loss_noise_floor=1.0)
    assert status(AGD, noisy) is Status.NOT_MEASURED
    concave = found.assign(loss=(start + eta * slope - eta**2).transpose(*found["loss"].dims))
    assert status(AGD, concave) is Status.NOT_MEASURED  # below its tangent there is nothing to bound


@pytest.mark.parametrize(
    ("premise", "options"),
    [
        ("scaled weights", {"weight": 1.01}),
        ("scaled data", {"x_scale": 1.01}),
        ("scaled data", {"y_scale": 0.99}),
        ("scaled step", {"second": 0.9}),
        ("orthogonal", {"y": 2}),
    ],
)
def test_each_scaling_fails_alone(premise: str, options: dict[str, Any]) -> None:
    found = verdict(AGD, majorised(**options))
    assert found.status is Status.PREMISE_FAILS
    assert [name for name, truth in found.premises.items() if truth is False] == [premise]
    assert found.remark.startswith(premise)


def test_scalings_may_be_off_by_a_thousandth() -> None:
    for options in ({"weight": 1.0005}, {"x_scale": 0.9995}, {"second": 0.9995}):
        assert status(AGD, majorised(**options)) is Status.HOLDS, options  # type: ignore[arg-type]


def test_the_other_losses_and_what_is_not_known() -> None:
    found = majorised()
    other = verdict(AGD, found.assign_attrs(loss="cross-entropy"))
    assert (other.status, other.premises["square loss"]) == (Status.PREMISE_FAILS, False)
    nameless = found.copy()
    del nameless.attrs["loss"]
    unknown = verdict(AGD, nameless)
    assert (unknown.status, unknown.premises["square loss"]) == (Status.NOT_MEASURED, None)
    for variable, premise in (
        ("linearisation_cosine", "orthogonal"),
        ("operator_norm", "scaled weights"),
        ("target_norm", "scaled data"),
    ):
        lost = verdict(AGD, found.drop_vars(variable))
        assert lost.premises[premise] is None
        assert lost.status is Status.NOT_MEASURED
    blind = verdict(AGD, with_values(found, linearisation_cosine=np.nan))
    assert (blind.status, blind.premises["orthogonal"]) == (Status.NOT_MEASURED, None)


def test_a_sample_cannot_speak_for_all_examples() -> None:
    """The loss is that of all data, so data that were looked at in part may be scaled, or not."""
    found = verdict(AGD, majorised(samples=2))
    assert found.status is Status.NOT_MEASURED
    assert found.premises["scaled data"] is None
    assert found.premises["orthogonal"] is None
    assert "`samples`" in found.remark
    failing = verdict(AGD, majorised(samples=2, x_scale=1.01))
    assert (failing.status, failing.premises["scaled data"]) == (Status.PREMISE_FAILS, False)


def test_tanh_lets_the_majorisation_keep_its_premises() -> None:
    found = verdict(AGD, majorised(activation="tanh"))
    assert found.premises["φ(0) = 0"] is True
    assert found.premises["1-Lipschitz"] is True
