"""A run in five sentences: each says what the verdicts, limits and checks say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from analysis import find
from analysis.in_short import in_short, network_name
from analysis.tables import silent_lines, telling
from tests.analysis.synthetic import measured
from trust.claims import all_claims

ETAS = np.array([0.0, 1e-4, 0.001, 0.01, 0.05])
ATTRIBUTES = {
    "biases_moved": "true",
    "number_of_examples": 1234,
    "direction": "gradient",
    "dtype": "float32",
    "data": "mnist",
}


def run(**replaced: object) -> xr.Dataset:
    return measured(ETAS, **replaced).assign_attrs(ATTRIBUTES)  # type: ignore[arg-type]


def sentences(measurements: xr.Dataset) -> dict[str, str]:
    return dict(in_short(find(measurements, title="a net")))


def two(first: xr.Dataset, last: xr.Dataset) -> xr.Dataset:
    named = [first.assign_coords(checkpoint=["c0"]), last.assign_coords(checkpoint=["c1"])]
    joined = xr.concat(named, "checkpoint", data_vars="minimal", coords="minimal", compat="override")
    return joined.assign_coords(step=("checkpoint", [0.0, 40.0])).assign_attrs(first.attrs)


def test_there_are_five_in_this_order() -> None:
    words = [word for word, _ in find(run(), title="a net").in_short]
    assert words == ["probed", "holds", "breaks", "safe step", "how sure"]


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({}, "2 layers"),
        ({"residual": "true", "norm": "batch"}, "2 layers, residual, batch norm"),
        ({"residual": "unknown", "norm": "unknown"}, "2 layers"),
        ({"architecture": "BertModel", "norm": "layer"}, "BertModel, 2 layers, layer norm"),
    ],
)
def test_a_network_is_named_by_what_is_known_of_it(attributes: dict[str, str], name: str) -> None:
    assert network_name(run().assign_attrs(attributes)) == name


def test_what_was_probed() -> None:
    found = sentences(two(run(loss=2.5, accuracy=0.1), run(loss=0.5, accuracy=0.875)))["probed"]
    assert found == (
        "2 layers, on 1,234 examples of mnist, at 2 checkpoints (step 0 to step 40; loss 2.5 → 0.5, accuracy 0.1 →"
        " 0.875), moved against its gradient by η from 0.0001 to 0.05 in every layer"
    )
    single = sentences(run(loss=2.5, accuracy=np.nan))["probed"]
    assert "at 1 checkpoint (c0; loss 2.5), moved" in single


def test_what_holds_and_what_breaks() -> None:
    trust = np.expm1(2 * np.log1p(ETAS))
    kept = sentences(run(gradient_change=0.5 * trust[None, :, None]))
    assert "deep-relative-trust is within a factor of 1" in kept["holds"]
    assert "predicted-limit is ×0.95" in kept["holds"]
    assert "deep-relative-trust" not in kept["breaks"]
    broken = sentences(two(run(), run(gradient_change=30 * trust[None, :, None])))
    assert "deep-relative-trust is off by a factor of 30" in broken["breaks"]
    assert "deep-relative-trust " not in broken["holds"]
    far = sentences(run(predicted_limit=1e-4, step_limit=1.0))
    assert "predicted-limit is ×10^−4 of what is measured" in far["breaks"]
    assert "predicted-limit" not in far["holds"]


def test_a_refuted_theorem_comes_first() -> None:
    claims = [all_claims()["deep-relative-trust"], replace(all_claims()["euclidean-trust"])]
    impossible = replace(claims[0], id="mine", kind=all_claims()["lemma1"].kind)
    trust = np.expm1(2 * np.log1p(ETAS))
    found = find(
        run(gradient_change=30 * trust[None, :, None]), title="", claims=[*claims, impossible]
    ).in_short
    assert dict(found)["breaks"].startswith("mine is refuted, by a factor of 30; deep-relative-trust is off")


def test_nothing_broken_is_said_too() -> None:
    trust = np.expm1(2 * np.log1p(ETAS))
    calm = find(
        run(gradient_change=trust[None, :, None]), title="", claims=[all_claims()["deep-relative-trust"]]
    )
    assert dict(calm.in_short)["breaks"] == "nothing that could be tested here"


def test_what_step_is_safe() -> None:
    found = sentences(two(run(step_limit=0.5), run(step_limit=0.02, predicted_limit=0.019)))["safe step"]
    assert found.startswith(
        "at the last checkpoint below η = 0.02, where the loss is back at its start (0.02 to 0.5"
    )
    assert "predicted from two gradients 0.019" in found
    assert "Lemma 2 allows 0.414" in found  # √2 − 1
    never = sentences(run(step_limit=np.nan, step_limit_searched_to=8.0))["safe step"]
    assert never == "the loss never came back to its start, up to η = 8"
    unsearched = run(drop=("step_limit", "step_limit_searched_to"))
    assert sentences(unsearched)["safe step"] == "not searched for"


def test_no_step_is_safe_where_the_loss_rises_at_once() -> None:
    up = {"step_limit": 0.0, "predicted_limit": 0.0, "perturbation_cosine": -0.01}
    alone = sentences(run(**up))["safe step"]
    assert alone.startswith(
        "none: the loss rises at once; predicted from two gradients none, Lemma 2 allows none"
    )
    last = sentences(two(run(step_limit=0.154), run(**up)))["safe step"]
    assert last.startswith(
        "none at the last checkpoint: the loss rises at once (0 to 0.154 over all); predicted"
    )
    always = sentences(two(run(**up), run(**up)))["safe step"]
    assert always.startswith("none at any checkpoint: the loss rises at once; predicted")
    first = sentences(two(run(**up), run(step_limit=0.154)))["safe step"]
    assert first.startswith(
        "at the last checkpoint below η = 0.154, where the loss is back at its start (0 to 0.154"
    )


def test_how_sure_that_is() -> None:
    found = sentences(run(noise_floor=3e-7))["how sure"]
    assert found.startswith(
        "no self-check failed; the grid resolves the slice up to η = 0.0001; rounding in float32"
    )
    assert "makes 3e−07 of a gradient;" in found
    base = run()
    checked = base.assign(
        gradient_change_error=(base.gradient_change.dims, 0.02 * base.gradient_change.values)
    )
    assert "at most 0.02 of its breakdown (float64 spot check)" in sentences(checked)["how sure"]
    wrong = run()
    wrong["gradient_difference"] = wrong["gradient_difference"] * 3
    assert sentences(wrong)["how sure"].startswith("NOT AT ALL: self-check cosines failed")


def test_claims_of_which_nothing_is_said_are_gathered() -> None:
    verdicts = find(run(), title="a net").verdicts
    lines = silent_lines(verdicts)
    spoken = {one.claim for one in telling(verdicts)}
    assert {one.claim for one in verdicts} == spoken | {
        name for line in lines for name in line.split(": ")[1].split(", ")
    }
    for line in lines:
        words, names = line.split(": ")
        status, count = words[:-1].split(" (")
        assert int(count) == len(names.split(", "))
        assert all(one.status.value == status for one in verdicts if one.claim in names.split(", "))
    assert "deep-relative-trust" in spoken
