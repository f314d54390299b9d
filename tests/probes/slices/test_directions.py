"""Steepest descent under three norms, against closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from probes.evaluation.directions import gradient_direction, sign_direction, spectral_direction
from probes.measures.settings import SliceSettings
from probes.slices.slice import measure_slice
from tests.trust.claims.slices import case_of


def polar(g: np.ndarray) -> np.ndarray:
    """UVᵀ = g (gᵀg)^(−½), over what gᵀg has of full rank."""
    matrix = g.reshape(len(g), -1)
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    kept = values > 1e-13 * values[-1]
    return (matrix @ (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T).reshape(g.shape)


UNDER: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gradient": lambda g: g,
    "spectral": polar,
    "sign": np.sign,
}


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 5)
    )
    return made.double()


@pytest.mark.parametrize("direction", UNDER)
def test_every_tensor_moves_by_eta_along_its_own(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions, matrices of both shapes and biases; as the measures see the perturbed tensors."""
    from probes.evaluation.perturbed_weights import PerturbedWeights

    seen = {}
    at = PerturbedWeights.at

    def spy(self: PerturbedWeights, eta: float) -> dict[str, torch.Tensor]:
        found = at(self, eta)
        seen[eta] = {name: tensor.clone() for name, tensor in found.items()}
        return found

    monkeypatch.setattr(PerturbedWeights, "at", spy)
    x, y = torch.randn(7, 2, 3, 3, dtype=torch.float64), torch.arange(7) % 5
    model = network()
    settings = SliceSettings(
        etas=[0, 0.25], direction=direction, dtype="float64", limit=False, curvature=None
    )
    found = measure_slice(model, x, y, settings=settings)
    nn.functional.cross_entropy(model(x), y).backward()
    for name, tensor in model.named_parameters():
        toward = UNDER[direction](tensor.grad.numpy())
        weight = tensor.detach().numpy()
        d = -np.linalg.norm(weight) * toward / np.linalg.norm(toward)
        np.testing.assert_allclose(
            seen[0.25][name].numpy() - weight, 0.25 * d, rtol=0, atol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(found["relative_perturbation"][0, 1], 0.25, rtol=1e-12)
    assert found["slope_at_zero"].item() < 0


def test_none_is_steeper_for_its_size() -> None:
    """The slope over the step's norm is −‖g‖ of the dual norm, here of a single layer."""
    g = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    W = {"W": torch.ones(4, 6, dtype=torch.float64)}
    norms = {
        "gradient": (gradient_direction, "fro", float(g.norm())),
        "spectral": (spectral_direction, 2, float(torch.linalg.svdvals(g).sum())),
        "sign": (sign_direction, None, float(g.abs().sum())),
    }
    for make, order, dual in norms.values():
        d = make(W, {"W": g})["W"]
        size = d.abs().max() if order is None else torch.linalg.matrix_norm(d, order)
        assert float((g * d).sum() / size) == pytest.approx(-dual)


def test_only_what_a_gradient_has_counts() -> None:
    """A gradient of rank one is its own polar factor but for its size; zero stays put; noise may be held still."""
    u, v = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, -1.0])
    g = {
        "a": torch.outer(u, v),
        "b": torch.zeros(2, 2),
        "c": torch.ones(2, 2),
        "d": torch.tensor([3.0, -4.0]),
    }
    W = {name: torch.ones_like(tensor) for name, tensor in g.items()}
    d = spectral_direction(W, g, still=["c"])
    torch.testing.assert_close(d["a"], -g["a"] * W["a"].norm() / g["a"].norm())
    torch.testing.assert_close(d["d"], -g["d"] * W["d"].norm() / 5)
    assert not d["b"].any()
    assert not d["c"].any()
    d = sign_direction(W, g, still=["c"])
    torch.testing.assert_close(d["a"], -torch.sign(g["a"]) * 6**0.5 / 2)
    assert not d["b"].any()
    assert not d["c"].any()


@pytest.mark.parametrize("direction", ["spectral", "sign"])
def test_claims_about_steps_and_outputs_are_judged_there(direction: str) -> None:
    from analysis import Status, check_measurements, judge
    from analysis.selfchecks import Outcome

    found = case_of(direction=direction, limit=True, curvature=0).found
    by_claim = {verdict.claim: verdict.status for verdict in judge(found)}
    for claim in ("telescoped", "spectral-product", "lemma1"):
        assert by_claim[claim] is Status.HOLDS, claim
    assert found["step_limit"].item() > 0
    assert by_claim["slice-curvature"] is not Status.NOT_MEASURED
    assert {one.outcome for one in check_measurements(found)} <= {Outcome.PASSED, Outcome.COARSE}
