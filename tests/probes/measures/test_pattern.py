"""The pattern measure: what trust says of the very tensors, labels and losses against torch, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from analysis import Status, judge
from probes import InputError, SliceSettings, measure_slice
from tests.probes.slices.examples import measured, reference_of
from tests.support.reference import Tensors, arrays, make, make_data, step
from trust.claims import all_claims
from trust.pattern import FrozenChain, Stage, pattern_bound
from trust.response import loss_rise_bound, response_bound

ETAS = np.array([0.0, 1e-3, 1e-2, 0.1])
N = 4
ROUNDING = 1e-9
"""Of float64 in a small network, many times over."""


def stages(tensors: Tensors, slope: float, residual: bool = False) -> list[Stage]:
    weights = [tensors[name] for name in tensors if name.endswith("weight")]
    last = len(weights) - 1
    return [
        Stage.of(
            W,
            tensors.get(f"layers.{k}.bias"),
            slope=slope if k < last else 1.0,
            skip=residual and k < last and W.shape[0] == W.shape[1],
        )
        for k, W in enumerate(weights)
    ]


def logits(network: Any, tensors: Tensors, x: Any) -> torch.Tensor:
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    with torch.no_grad():
        return torch.func.functional_call(network.double(), state, (x.double(),))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu:0.1", 0.1), ("identity", 1.0)])
def test_the_bounds_are_those_of_the_tensors_and_the_rest_is_torchs(
    activation: str, slope: float, residual: bool
) -> None:
    network, (x, y) = make(activation=activation, residual=residual), make_data(9)
    found = measured(network, x, y, etas=ETAS, pattern=N)
    tensors = arrays(network)
    gradients = reference_of(network, x, y).run(tensors)[1]
    chain = FrozenChain(stages(tensors, slope, residual), x[:N].double().flatten(1).numpy())
    before = logits(network, tensors, x)[:N]
    for row, eta in enumerate(ETAS):
        moved = step(tensors, gradients, eta)
        after = logits(network, moved, x)[:N]
        perturbed = chain.perturbed(stages(moved, slope, residual))
        labels = y[:N].numpy()
        wanted = {
            "pattern_bound": pattern_bound(perturbed),
            "response_bound": response_bound(perturbed),
            "loss_rise_bound": loss_rise_bound(perturbed, labels),
            "label_kept": (before.argmax(1) == after.argmax(1)).numpy(),
            "loss_rise": (
                nn.functional.cross_entropy(after, y[:N], reduction="none")
                - nn.functional.cross_entropy(before, y[:N], reduction="none")
            ).numpy(),
        }
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name][row, :N], values, rtol=1e-7, atol=1e-12, err_msg=name)
        change = (after - before).norm(dim=1).numpy()
        for name in ("pattern_bound", "response_bound"):
            assert (change <= found[name][row, :N].values + ROUNDING).all()
        assert (found["loss_rise"][row, :N] <= found["loss_rise_bound"][row, :N] + ROUNDING).all()
    margin = torch.sort(before, dim=1).values
    np.testing.assert_allclose(found["margin"][:N], margin[:, -1] - margin[:, -2], rtol=1e-9)
    for name in ("pattern_bound", "label_kept", "loss_rise", "margin"):
        assert found[name][..., N:].isnull().all()


@pytest.mark.parametrize("etas", [ETAS, np.array([0.0, 1e-5]), np.array([0.0, 0.5])])
def test_the_loss_falls_all_along_the_certified_step(etas: np.ndarray) -> None:
    """Also where the grid is far below it, or above it."""
    network, (x, y) = make(), make_data(9)
    found = measured(network, x, y, etas=etas, pattern=len(x))
    certified, tensors = float(found["certified_step"]), arrays(network)
    loss, gradients, _ = reference_of(network, x, y).run(tensors)
    assert certified > 1e-3
    for share in np.linspace(0.01, 1, 60):
        assert reference_of(network, x, y).run(step(tensors, gradients, share * certified))[0] < loss
    # and the search came close: a little further nothing is certified
    chain = FrozenChain(stages(tensors, 0.0), x.double().flatten(1).numpy())
    rises = [
        loss_rise_bound(
            chain.perturbed(stages(step(tensors, gradients, s * certified), 0.0)), y.numpy()
        ).mean()
        for s in (1.0, 1.03)
    ]
    assert rises[0] < 0 <= rises[1]
    assert 0 < int(found["certified_step_trials"]) <= 24


def verdicts(found: xr.Dataset) -> dict[str, Any]:
    names = ("pattern-telescoped", "pattern-response", "certified-step")
    return {one.claim: one for one in judge(found, [all_claims()[name] for name in names])}


def test_the_claims_hold_on_a_slice_and_under_the_worst_perturbation() -> None:
    network, (x, y) = make(), make_data(9)
    settings = {"etas": ETAS, "dtype": "float32", "samples": 6, "pattern": N}
    found = measure_slice(network, x, y, settings=SliceSettings(**settings))
    found.attrs["loss"] = "cross-entropy"  # as a run adds it
    assert {one.status for one in verdicts(found).values()} == {Status.HOLDS}
    worst = measure_slice(
        network, x, y, settings=SliceSettings(**settings, direction="adversarial", ascent_steps=4, restarts=1)
    )
    assert "certified_step" not in worst
    told = verdicts(worst)
    assert told["pattern-telescoped"].status is told["pattern-response"].status is Status.HOLDS
    assert told["certified-step"].remark == "no slice: every eta has a perturbation of its own"


def test_a_last_layer_that_is_not_linear_has_bounds_and_no_certified_step() -> None:
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU())
    found = measure_slice(network, *make_data(9), settings=SliceSettings(etas=ETAS, pattern=N))
    assert verdicts(found)["pattern-telescoped"].status is Status.HOLDS
    assert "loss_rise_bound" not in found


def test_the_claims_hold_of_residual_blocks() -> None:
    network = make((6, 8, 8, 8, 3), residual=True)
    settings = SliceSettings(etas=ETAS, dtype="float32", samples=6, pattern=N)
    found = measure_slice(network, *make_data(9), settings=settings)
    found.attrs["loss"] = "cross-entropy"
    assert {one.status for one in verdicts(found).values()} == {Status.HOLDS}
    assert {one.premises["chain of layers or blocks"] for one in verdicts(found).values()} == {True}


def test_a_broken_certificate_is_refuted() -> None:
    found = measure_slice(
        make(), *make_data(9), settings=SliceSettings(etas=np.array([0.0, 0.01, 0.5, 5.0]), pattern=9)
    )
    found.attrs["loss"] = "cross-entropy"
    assert verdicts(found)["certified-step"].status is Status.HOLDS
    returned = float(found["eta"][found["loss_rise"][0].mean("example") > 0].min())
    found["certified_step"][:] = returned
    assert verdicts(found)["certified-step"].status is Status.REFUTED
    found["pattern_bound"] = found["pattern_bound"] / 100
    assert verdicts(found)["pattern-telescoped"].status is Status.REFUTED


@pytest.mark.parametrize(
    ("network", "premise"),
    [
        (make(activation="tanh"), "piecewise linear"),
        (make(norm="layer"), "chain of layers or blocks"),
        (make(activation="leaky_relu:2"), "piecewise linear"),
    ],
    ids=["tanh", "layer norm", "steeper below"],
)
def test_other_networks_are_not_measured_and_the_premise_that_fails_is_said(
    network: nn.Module, premise: str
) -> None:
    x, y = make_data(9)
    found = measure_slice(network, x, y, settings=SliceSettings(etas=ETAS, pattern=N))
    assert "pattern_bound" not in found
    for one in verdicts(found).values():
        assert (one.status, one.remark) == (Status.PREMISE_FAILS, f"{premise}: not measured")
    with pytest.raises(InputError, match="`measure='pattern'`: has no meaning for this network"):
        measured(network, x, y, pattern=N, measure=("pattern",))


def test_a_module_of_ones_own_is_read_like_ours() -> None:
    ours = make(activation="leaky_relu:0.1")
    layers: list[nn.Module] = []
    for k, layer in enumerate(ours.layers):
        layers += [layer, nn.LeakyReLU(0.1)] if k < len(ours.layers) - 1 else [layer]
    x, y = make_data(9)
    first, other = (
        measured(network, x, y, pattern=N, dtype="float64") for network in (ours, nn.Sequential(*layers))
    )
    for name in ("pattern_bound", "response_bound", "loss_rise_bound", "certified_step"):
        assert bool(first[name].notnull().any())
        np.testing.assert_array_equal(first[name], other[name])


def test_another_loss_has_bounds_but_no_certified_step() -> None:
    network, (x, y) = make(), make_data(9)
    targets = nn.functional.one_hot(y, 3).double()
    settings = SliceSettings(etas=ETAS, dtype="float64", pattern=N)
    found = measure_slice(network, x, targets, settings=settings, loss="mse")
    assert found["pattern_bound"].notnull().any()
    assert "loss_rise_bound" not in found
    told = verdicts(found)
    assert told["pattern-telescoped"].status is Status.HOLDS
    assert told["certified-step"].status is Status.PREMISE_FAILS
    assert told["certified-step"].premises["cross-entropy"] is False


def test_a_number_of_examples_is_needed_and_overflow_is_nan() -> None:
    network, (x, y) = make(), make_data(9)
    with pytest.raises(InputError, match="on how many examples"):
        measured(network, x, y, measure=("pattern",))
    with pytest.raises(InputError, match="leave `pattern` out"):
        measured(make(norm="batch"), x, y, batchnorm="batch", pattern=1)
    found = measured(network, x, y, etas=np.array([0.0, 0.1, 5e307]), pattern=2)
    assert found["pattern_bound"][2].isnull().all()
    assert found["pattern_bound"][1, :2].notnull().all()


def test_a_run_without_it_says_what_to_add() -> None:
    found = measure_slice(make(), *make_data(9), settings=SliceSettings(etas=ETAS))
    for one in verdicts(found).values():
        assert one.status is Status.NOT_MEASURED
        assert "`pattern=N` (for" in one.remark
        assert "chains of ReLU, leaky ReLU or linear layers" in one.remark
