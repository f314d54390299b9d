"""The falsifier's formulas against plain NumPy and against the registry's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from analysis.falsifier.floats import FloatTrial
from analysis.falsifier.generic import measurements_of
from analysis.falsifier.numbers import Floats, float_trial, picked
from analysis.falsifier.starts import starts
from tests.analysis.falsifier import examples
from tests.analysis.falsifier.plain import MARGINS, PLAIN, _plain, norm
from trust.paths import log10_path_distance, path_vector
from trust.pattern import FrozenChain, Perturbed, Stage, pattern_bound
from trust.response import response_bound


def test_every_form_is_computed_here() -> None:
    assert set(PLAIN) == set(examples.claims())
    for id in PLAIN:
        assert {c.name for c in examples.form(id).conditions} == set(MARGINS.get(id, {}))


@pytest.mark.parametrize(("id", "activation", "widths"), examples.cases())
def test_forms_say_what_the_statements_say(id: str, activation: str, widths: tuple[int, ...]) -> None:
    form = examples.form(id)
    trial, _ = examples.trials(form, widths, activation, seed=100)
    plain = _plain(picked(trial, 0))
    # what cancels here or is allowed for there: losses, outputs, and cosines against the published constant
    size = max(plain.loss(plain.W), norm(plain.f), norm(plain.x), 1.0)
    for found, wanted in zip(form.sides(trial), PLAIN[id](plain), strict=True):
        assert float(found) == pytest.approx(wanted, rel=1e-10, abs=1e-13 * size)
    for condition in form.conditions:
        wanted = MARGINS[id][condition.name](plain)
        assert float(condition.margin(trial)) == pytest.approx(
            wanted, rel=1e-10, abs=1e-5 if id == "lemma2-with-constant" else 1e-10
        )
        # what is constructed satisfies it, but for what only the search sees to
        assert wanted >= -1e-12 or id in (
            "lemma2",
            "agd-majorisation",
            "neyshabur",
            "lemma2-with-constant",
            "pattern-telescoped",
            "pattern-response",
        )
    if id == "agd-majorisation":
        error = plain.f_moved - plain.f - plain.tangent()
        assert float((plain.f - plain.y) @ error) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu:0.25", "identity"])
@pytest.mark.parametrize(
    ("id", "bound"), [("pattern-telescoped", pattern_bound), ("pattern-response", response_bound)]
)
def test_the_patterns_forms_are_what_trust_computes(
    id: str, bound: Callable[[Perturbed], np.ndarray], activation: str
) -> None:
    # wide ones too, in which many units cross their kinks together
    for widths, step in (
        *((shape, 8) for shape in examples.SHAPES),
        ((3, 30, 30, 3), 1),
        ((3, 40, 40, 40), 30),
    ):
        numbers = examples.random_numbers(widths, activation, 300, step)
        trial = float_trial(examples.in_floats(numbers))
        plain = _plain(picked(trial, 0))
        moved = [b + db for b, db in zip(plain.b, plain.db, strict=True)]
        before, after = (
            [Stage.of(w, c, slope=plain.slope) for w, c in zip(weights, biases, strict=True)]
            for weights, biases in ((plain.W, plain.b), (plain.V, moved))
        )
        found = bound(FrozenChain(before, plain.x[None]).perturbed(after))
        assert found[0] == pytest.approx(float(examples.form(id).sides(trial)[1]), rel=1e-10)


# The registry's formulas on the same networks. There is no jacobian_change among the falsifier's measurements,
# so of the two claims about Jacobians the bound alone is compared, at the first layer's input. lemma1 cannot be
# compared here: the registry reads its maximum off the run's own η, and the losses are not measured. The
# step-size claims compare a claimed with a measured limit, so of lemma2-limit and lemma2 the claimed limit is
# compared with the margin to it. lemma2-with-constant cannot be: the registry's constant leaves out the κ of W̃, which
# the form's has, so that the form allows shorter steps only. Of agd-majorisation the registry's left side needs
# losses; the bound is compared.
BOTH = (
    "theorem1-function",
    "theorem1-function-injective",
    "theorem1-function-layerwise",
    "deep-relative-trust",
    "input-sensitivity",
    "spectral-product",
    "neyshabur",
    "telescoped",
    "path-metric",
    "path-metric-midpoint",
    "path-metric-direct",
    "linearisation-remainder",
)
BOUND = ("theorem1-jacobian", "theorem1-jacobian-gated", "agd-majorisation")


def _registry_case(id: str, activation: str, widths: tuple[int, ...]) -> tuple[FloatTrial, xr.Dataset]:
    form = examples.form(id)
    if id == "telescoped":  # the bias's own vector is no layer of the falsifier's measurements
        form = replace(form, uses=())
    trial, _ = examples.trials(form, widths, activation, seed=200)
    floats = examples.in_floats(picked(trial, 0))
    if id == "input-sensitivity":  # the registry's input moves by η‖x‖, and η is 1
        size = floats.x.norm() / floats.input_change.norm()
        floats = replace(floats, input_change=floats.input_change * size)
    trial = float_trial(floats)
    data = measurements_of(trial)
    plain = _plain(picked(trial, 0))
    moved = [b + db for b, db in zip(plain.b, plain.db, strict=True)]
    direct = path_vector(plain.W, plain.b) - path_vector(plain.V, moved)
    extra = {
        "log10_path_distance": log10_path_distance(plain.W, plain.V, plain.b, moved),
        "log10_path_difference": float(np.log10(abs(direct).sum())),
        "opposite_signs": 0.0 if id == "path-metric" else 1.0,
    }
    for name, value in extra.items():
        data[name] = (("checkpoint", "eta"), [[-np.inf, value]])
    error = norm(plain.f_moved - plain.f - plain.tangent())
    data["linearisation_error"] = (("checkpoint", "eta", "example"), [[[0.0], [error]]])
    if id.startswith("lemma2"):
        cosines = [
            -float((g * dW).sum()) / (norm(g) * norm(dW))
            for g, dW in zip(plain.gradient(plain.W), plain.dW, strict=True)
        ]
        data["perturbation_cosine"] = (("checkpoint", "layer"), [cosines])
    return trial, data


def _first(values: xr.DataArray) -> float:
    """At the first layer, where there are layers."""
    return float((values.isel(layer=0) if "layer" in values.dims else values).squeeze())


REGISTRY = [case for case in examples.cases() if case[0] in BOTH + BOUND]


@pytest.mark.parametrize(("id", "activation", "widths"), REGISTRY)
def test_forms_and_the_registry_agree(id: str, activation: str, widths: tuple[int, ...]) -> None:
    claim = examples.claims()[id]
    trial, data = _registry_case(id, activation, widths)
    left, right = (float(torch.log10(side)) for side in examples.form(id).sides(trial))
    bound = _first(claim.bound(data))
    if id in BOUND:
        assert bound == pytest.approx(right, abs=1e-10)
        return
    measured = _first(claim.measured(data))
    if id == "linearisation-remainder" and len(widths) == 2:
        assert left == right == bound == -math.inf  # one layer is linear in its weights
        return
    # most forms speak of the change itself, the registry of what is relative to ‖f(x)‖, on both sides
    share = measured - left
    if id.startswith("theorem1") or id == "deep-relative-trust":
        assert share == pytest.approx(0, abs=1e-10)
    assert bound - share == pytest.approx(right, abs=1e-10)
    for premise in claim.premises:
        # the forms of claims with β in them serve any φ
        known = set(premise.needs) <= set(data.variables)
        if known and not (premise.name == "1-Lipschitz" and activation.endswith("1.5")):
            assert bool((premise.check(data) == 1).all()), premise.name


@pytest.mark.parametrize("id", ["lemma2-limit", "lemma2"])
@pytest.mark.parametrize("widths", examples.SHAPES)
def test_step_limits_of_forms_and_registry_agree(id: str, widths: tuple[int, ...]) -> None:
    trial, data = _registry_case(id, "leaky_relu:0.25", widths)
    margins = {
        c.name: float(c.margin(trial)) for c in examples.form(id).conditions if c.name != "no faster than D"
    }
    limit = 10.0 ** float(examples.claims()[id].measured(data).squeeze())
    eta = max(_plain(picked(trial, 0)).r)
    cosine = (1 + limit) ** trial.depth - 1
    assert margins["descent direction"] == pytest.approx(cosine, rel=1e-10)
    assert margins["step size"] == pytest.approx(cosine - ((1 + eta) ** trial.depth - 1), abs=1e-10)
    assert eta < limit


def test_measurements_of_a_batch_are_those_of_its_networks() -> None:
    numbers = [examples.in_floats(examples.random_numbers((2, 3, 2), "leaky_relu:0.25", s)) for s in range(3)]
    joined = {
        name: [torch.cat(parts) for parts in zip(*(getattr(n, name) for n in numbers), strict=True)]
        for name in ("weights", "changes", "biases", "bias_changes")
    }
    joined |= {
        name: torch.cat([getattr(n, name) for n in numbers]) for name in ("x", "input_change", "target")
    }
    batch = measurements_of(float_trial(replace(numbers[0], **joined)))
    for k, one in enumerate(numbers):
        alone = measurements_of(float_trial(one))
        for name, values in alone.items():
            np.testing.assert_allclose(
                batch[name].isel(checkpoint=k).values, values.isel(checkpoint=0).values, rtol=1e-12
            )


def test_measurements_in_intervals_hold_those_in_floats() -> None:
    numbers = examples.random_numbers((2, 3, 2), "leaky_relu:0.25", 5)
    form = replace(examples.form("input-sensitivity"), uses=("biases", "input_change", "target"))
    floats, exact = examples.both(form, numbers)
    inexact, found = measurements_of(floats), measurements_of(exact)
    assert set(inexact.variables) == set(found.variables)
    for name, values in found.items():
        if values.dtype == object:
            middles = np.array([getattr(v, "middle", v) for v in values.values.ravel()], dtype=float)
            np.testing.assert_allclose(middles, inexact[name].values.ravel(), rtol=1e-12, err_msg=str(name))


@pytest.mark.parametrize("activation", ["identity", "leaky_relu:0.5", "tanh"])
@pytest.mark.parametrize("widths", [(1, 1), (1, 1, 1), (2, 2, 2)])
def test_rounding_refutes_no_majorisation(widths: tuple[int, ...], activation: str) -> None:
    """With steps of any size: below some size rounding is all that is left of what the bound speaks of."""
    form, rng = examples.form("agd-majorisation"), np.random.default_rng(0)
    start = starts(rng, widths, 2000, biases=False)
    parts = {name: [torch.from_numpy(array) for array in arrays] for name, arrays in start.items()}
    sizes = torch.from_numpy(10.0 ** rng.uniform(-16, 0, (2000, 1, 1)))
    numbers = Floats(
        activation=activation,
        weights=parts["weights"],
        changes=[sizes * direction for direction in parts["directions"]],
        biases=[torch.zeros_like(b) for b in parts["biases"]],
        bias_changes=[torch.zeros_like(b) for b in parts["biases"]],
        x=parts["x"][0],
        input_change=torch.zeros_like(parts["x"][0]),
        target=parts["target"][0],
    )
    left, right = form.sides(form.derive(form.construct(float_trial(numbers))))
    assert float((left / right).nan_to_num(0.0).max()) <= 1 + 1e-9
    large = sizes.flatten() > 1e-4
    assert float((left / right)[large].nan_to_num(0.0).max()) > 0.1
