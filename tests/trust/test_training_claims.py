"""Claims about a whole training run, on runs whose sharpness is made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from analysis import Status, Verdict, judge
from tests.analysis.synthetic import measured
from trust import ntk_edge, sam_edge

NAN = float("nan")


def run(sharpness: list[float], **replaced: Any) -> xr.Dataset:
    """A training run by gradient descent at η = 0.1, whose edge is 20, on the full batch."""
    given: dict[str, Any] = {
        "optimizer": "sgd", "batch_size": 100, "number_of_examples": 100, "loss": "half-square", "rate": 0.1,
        "residual": 0.0, "accuracy": 0.5,
    }  # fmt: skip
    given |= replaced
    own = {name: given.pop(name) for name in ("rate", "residual", "accuracy")}
    names = ("hessian_eigenvalue", "preconditioned_eigenvalue", "batch_sharpness", "ntk_trace")
    values = {name: given.pop(name, sharpness) for name in names}
    alignment = given.pop("alignment", None)
    full = given.pop("full", None)
    points = [measured().assign_coords(checkpoint=[f"c{k}"]) for k in range(len(sharpness))]
    data = xr.concat(points, dim="checkpoint").drop_vars("accuracy", errors="ignore")
    data.attrs |= {name: value for name, value in given.items() if value is not None}
    data.attrs = {name: value for name, value in data.attrs.items() if given.get(name, "") is not None}
    shape = (len(sharpness), data.sizes["eta"])
    data["accuracy"] = (("checkpoint", "eta"), np.broadcast_to(np.reshape(own["accuracy"], (-1, 1)), shape))
    for name in names[:2]:
        data[name] = (("checkpoint", "rank"), np.reshape(values[name], (-1, 1)))
        residual = name.replace("eigenvalue", "residual")
        data[residual] = (("checkpoint", "rank"), np.broadcast_to(own["residual"], (len(sharpness), 1)))
    for name in names[2:]:
        data[name] = ("checkpoint", np.asarray(values[name], dtype=float))
    data["learning_rate"] = ("checkpoint", np.broadcast_to(own["rate"], len(sharpness)))
    if alignment is not None:
        data["whole_jacobian_alignment"] = (
            ("checkpoint", "example"),
            np.reshape(alignment, (-1, 1)) * np.ones(2),
        )
    if full is not None:
        data["full_batch_sharpness"] = ("checkpoint", np.asarray(full, dtype=float))
    return data


def verdict(claim: str, *arguments: Any, **replaced: Any) -> Verdict:
    (found,) = judge(run(*arguments, **replaced), [claim])
    assert found.checkpoint is None
    return found


def test_the_edge_is_judged_from_the_first_crossing() -> None:
    found = verdict("gd-edge", [1.0, 15.0, 21.0, 19.0, 22.0])
    assert found.words == "within ×0.95 to ×1.1"
    assert found.premises["the edge is reached"] is True
    after_a_fall = verdict("gd-edge", [1.0, 24.0, 2.0])
    assert after_a_fall.words == "within ×0.1 to ×1.2"


def test_an_edge_that_is_never_reached_says_how_near_it_came() -> None:
    found = verdict("gd-edge", [1.0, 9.4, 8.0])
    assert found.status is Status.PREMISE_FAILS
    assert found.remark == "the edge is reached: it is ×0.47 all the same"
    unseen_at_first = verdict(
        "gd-edge", [NAN, 9.4, 8.0]
    )  # as Adam's, which has no state before its first step
    assert unseen_at_first.remark == found.remark


def test_cross_entropy_is_judged_up_to_the_goal() -> None:
    sharp, right = [1.0, 21.0, 20.0, 2.0, 0.1], [0.1, 0.5, 0.99, 1.0, 1.0]
    found = verdict("gd-edge", sharp, loss="cross-entropy", accuracy=right)
    assert found.words == "within ×1 to ×1.05"
    assert verdict("gd-edge", sharp, accuracy=right).words == "within ×0.005 to ×1.05"


def test_what_has_not_converged_is_not_known() -> None:
    found = verdict("gd-edge", [1.0, 21.0, 40.0], residual=np.array([[0.0], [0.0], [0.5]]))
    assert found.words == "×1.05"
    unseen = verdict("gd-edge", [1.0, 21.0, 22.0], residual=np.array([[0.5], [0.0], [0.0]]))
    assert unseen.words == "within ×1.05 to ×1.1"


@pytest.mark.parametrize(
    ("replaced", "premise"),
    [
        ({"optimizer": "adam"}, "by sgd"),
        ({"batch_size": 50}, "full batch"),
    ],
)
def test_an_edge_is_of_one_optimiser_on_the_full_batch(replaced: dict[str, Any], premise: str) -> None:
    found = verdict("gd-edge", [1.0, 21.0], **replaced)
    assert (found.status, found.premises[premise]) == (Status.PREMISE_FAILS, False)
    unknown = verdict("gd-edge", [1.0, 21.0], **dict.fromkeys(replaced))
    assert (unknown.status, unknown.premises[premise]) == (Status.NOT_MEASURED, None)
    assert "probe train" in unknown.remark


def test_adam_has_an_edge_of_its_own() -> None:
    found = verdict(
        "adam-edge", [0.0, 0.0], preconditioned_eigenvalue=[300.0, 418.0], optimizer="adam", beta1=0.9
    )
    assert found.words == "×1.1"  # 38/0.1 = 380
    other = verdict(
        "adam-edge", [0.0, 0.0], preconditioned_eigenvalue=[30.0, 66.0], optimizer="adam", beta1=0.5
    )
    assert other.words == "×1.1"  # 3/0.5/0.1 = 60


def test_sams_edge_falls_with_the_gradient() -> None:
    data = run([1.0, 30.0], optimizer="sam", rho=0.05)
    g = float(np.sqrt((data["gradient_norm"].isel(checkpoint=1, eta=0) ** 2).sum()))
    edge = float(sam_edge(step=0.1, rho=0.05, gradient_norm=g))
    (found,) = judge(data, ["sam-edge"])
    expected = f"{30 / edge:.2g}"
    assert found.words == f"×{expected}"
    (unknown,) = judge(run([1.0, 19.0], optimizer="sam"), ["sam-edge"])
    assert unknown.status is not Status.WITHIN


def test_batches_have_their_own_edge_if_they_are_the_trainings() -> None:
    given = {"batch_sharpness": [5.0, 20.0, 22.0], "batch_size": 10}
    data = run([0.0] * 3, **given)
    (found,) = judge(data.assign_attrs(batch_sharpness=10), ["stochastic-edge"])
    assert found.words == "within ×1 to ×1.1"
    (other,) = judge(data.assign_attrs(batch_sharpness=20), ["stochastic-edge"])
    assert (other.status, other.premises["the training's batches"]) == (Status.PREMISE_FAILS, False)


def test_the_kernels_trace_has_an_edge() -> None:
    width = int(measured()["rows"].values[-1])
    edge = float(ntk_edge(step=0.1, batch_size=10, examples=100, outputs=width))
    assert edge == pytest.approx(width * 2 / (0.1 * 0.09))
    found = verdict("stochastic-edge-ntk", [0.0] * 2, ntk_trace=[100.0, 100 * 1.1 * edge], batch_size=10)
    assert found.words == "×1.1"
    whole = verdict("stochastic-edge-ntk", [0.0] * 2, ntk_trace=[100.0, 110.0])
    assert whole.premises["mini-batches"] is False


def test_sharpening_is_held_against_the_full_batchs() -> None:
    found = verdict("conservative-sharpening", [1.0, 5.0], full=[1.0, 10.0], batch_size=10)
    assert found.words == "within ×0.5 to ×1"
    alone = verdict("conservative-sharpening", [1.0, 5.0], batch_size=10)
    assert (alone.status, "stochastic-edge" in alone.remark) == (Status.NOT_MEASURED, True)


def test_alignment_explains_what_rises_with_its_square() -> None:
    found = verdict("jacobian-alignment", [2.0, 8.0, 20.0], alignment=[-2.0, -2 + np.log10(2), -1.5])
    assert found.words == "×1"
    level = verdict("jacobian-alignment", [2.0, 3.0], alignment=[-2.0, -1.0])
    assert (level.status, level.premises["the sharpness has risen"]) == (Status.PREMISE_FAILS, False)


def test_the_kernels_edge_is_where_a_linear_model_leaves() -> None:
    """Half the squared error of a linear model, batches drawn anew: bounded below the edge, unbounded above."""
    rng = np.random.default_rng(0)
    examples, batch = 256, 4
    J = rng.normal(size=(examples, examples)) / np.sqrt(examples)
    eta_edge = 2 / (np.sum(J**2) / examples * (1 / batch - 1 / examples))
    grown = []
    for share in (0.3, 3.0):
        z = rng.normal(size=examples)
        start = np.linalg.norm(z)
        for _ in range(200):
            chosen = rng.permutation(examples)[:batch]
            z = z - share * eta_edge / batch * J @ (J[chosen].T @ z[chosen])
        grown.append(np.linalg.norm(z) / start)
    assert grown[0] < 1.5
    assert grown[1] > 100
