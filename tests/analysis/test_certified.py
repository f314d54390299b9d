"""Labels certified by hand: the margin against √2 times the best of the bounds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis import certified_labels, find, slack
from analysis.slack import INACTIVE, PATTERN
from analysis.tables import labels_table
from probes import SliceSettings, measure_slice
from tests.support.reference import make, make_data

ETAS = np.array([0.0, 1e-3, 1e-2, 0.1])
N = 5


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    settings = SliceSettings(etas=ETAS, dtype="float64", samples=9, pattern=N, spectra="slice")
    return measure_slice(make(), *make_data(9), settings=settings)


def test_a_label_is_certified_where_its_margin_exceeds_root_two_times_the_smallest_bound(
    run: xr.Dataset,
) -> None:
    found = certified_labels(run)
    assert found is not None
    assert int(found["examples"][0]) == N
    own = run.isel(checkpoint=0, example=slice(N))
    for k, eta in enumerate(ETAS[1:]):
        at = own.sel(eta=eta)
        best = np.minimum(at.pattern_bound, at.response_bound)
        assert float(found["certified"][0, k]) == np.mean(own.margin > 2**0.5 * best)
        assert float(found["kept"][0, k]) == at.label_kept.mean()
        alone = found["certified_by"].sel(rung="pattern-telescoped")[0, k]
        assert float(alone) == np.mean(own.margin > 2**0.5 * at.pattern_bound)
    assert (found["certified"] <= found["kept"]).all()
    assert float(found["certified"][0, 0]) > float(found["certified"][0, -1])


def test_a_bound_whose_premise_fails_certifies_nothing(run: xr.Dataset) -> None:
    """There are biases, which the spectral product excludes."""
    found = certified_labels(run)
    assert found is not None
    assert (found["certified_by"].sel(rung="spectral-product") == 0).all()
    broken = run.assign_attrs(residual="true", structure="")  # as if it were no chain
    other = certified_labels(broken)
    assert other is not None
    assert (other["certified"] == 0).all()
    assert (other["kept"] == found["kept"]).all()


def test_a_changed_label_with_a_wrong_bound_would_be_seen(run: xr.Dataset) -> None:
    wrong = run.copy(deep=True)
    wrong["pattern_bound"][:] = 0.0
    wrong["label_kept"][0, -1, :N] = 0.0
    found = certified_labels(wrong)
    assert found is not None
    assert float(found["certified"][0, -1]) == 1.0
    assert float(found["kept"][0, -1]) == 0.0


def test_without_margins_or_bounds_there_is_none(run: xr.Dataset) -> None:
    assert certified_labels(run.drop_vars("margin")) is None
    assert certified_labels(run.drop_vars("output_norm")) is None


def test_the_pattern_is_a_rung_below_the_telescoped_bound(run: xr.Dataset) -> None:
    found, without = slack(run), slack(run.drop_vars("pattern_bound"))
    assert found is not None
    assert without is not None
    assert list(found["rung"].values)[:3] == ["measured", PATTERN, "telescoped"]
    assert list(found["cause"].values)[:2] == ["alignment", INACTIVE]
    assert list(without["rung"].values)[:2] == ["measured", "telescoped"]
    assert (found["share"].sel(cause=INACTIVE) >= 0).all()
    assert (found["examples"] == N).all()
    assert (without["examples"] == 9).all()


def test_a_report_has_the_table_and_a_ladder_of_the_same_examples(run: xr.Dataset) -> None:
    louder = run.copy(deep=True)
    louder["output_change"][..., N:] = 1e3  # of examples that have no pattern bound
    findings = find(louder, title="one")
    headings = [heading for heading, _, _ in findings.sections]
    assert "Certified labels" in headings
    own = run["output_change"][0, 1:, :N].max("example")
    for claim in ("telescoped", "pattern-response"):
        worst = 10.0 ** findings.envelopes[claim]["log10_measured"][0]
        np.testing.assert_allclose(worst, own, rtol=1e-9)
    assert findings.labels is not None
    heading, row = labels_table(findings.labels)
    assert heading[:4] == ["checkpoint", "examples", "unchanged (η = 0.001)", "certified"]
    assert row[1] == str(N)
    assert row[3] == f"{float(findings.labels['certified'][0, 0]):.0%}"
