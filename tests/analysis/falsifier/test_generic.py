"""Claims of users, who give both sides on measurements alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from analysis.falsifier import UnsupportedError, to_json
from tests.analysis.falsifier.high_precision import MP, Network, size
from tests.analysis.falsifier.searches import search
from tests.analysis.falsifier.users import spectral_claim, sum_of_steps, user_claim
from trust.claims import (
    CHAIN,
    Premise,
)


def test_a_users_false_claim_is_refuted() -> None:
    found = search(user_claim(sum_of_steps), ((1, 1, 1),), most_rounds=2, activation="identity")
    assert found.certificate is not None
    document = to_json(user_claim(sum_of_steps), found.certificate)
    assert document["left"][0] >= 1.01 * document["right"][1]
    network = Network(document)
    before, after = network.run(network.W, network.b)[0][-1], network.run(network.V, network.c)[0][-1]
    assert size(after - before) / size(before) >= MP.mpf("1.0099") * sum(network.relative())


def test_a_users_theorem_is_not_refuted_and_half_of_it_is() -> None:
    widths = ((1, 1),)
    found = search(spectral_claim(1.0), widths, most_rounds=1, activation="identity")
    assert found.certificate is None
    assert found.doubt == ""
    assert -0.2 < found.worst_log10_ratio <= 1e-5
    assert search(spectral_claim(0.5), widths, most_rounds=1, activation="identity").certificate is not None


def test_a_users_premise_is_kept() -> None:
    never = Premise("never", "1 = 2", lambda m: CHAIN.check(m) & False)
    found = search(user_claim(sum_of_steps, premises=(CHAIN, never)), ((1, 1),), most_rounds=1)
    assert found.certificate is None
    assert found.worst_log10_ratio == -math.inf
    unknown = Premise("unknown", "who knows", lambda m: CHAIN.check(m).astype(float) * np.nan)
    assert search(user_claim(sum_of_steps, premises=(unknown,)), ((1, 1),), most_rounds=1).certificate is None


def _loses_the_interval(measurements: xr.Dataset) -> xr.DataArray:
    return xr.apply_ufunc(lambda a: np.asarray(a, dtype=np.float64), sum_of_steps(measurements))


def _scipys(measurements: xr.Dataset) -> xr.DataArray:
    return xr.apply_ufunc(np.arctan, sum_of_steps(measurements))


@pytest.mark.parametrize("bound", [_loses_the_interval, _scipys])
def test_a_formula_that_intervals_cannot_take_is_doubted(
    bound: Callable[[xr.Dataset], xr.DataArray],
) -> None:
    claim = user_claim(bound)
    found = search(claim, ((1, 1, 1),), most_rounds=1)
    assert found.certificate is None
    assert "intervals" in found.doubt
    document = found.to_json(claim)
    assert document["certified"] is False
    assert document["doubt"] == found.doubt
    assert document["witness"] is None


def test_claims_that_cannot_be_searched() -> None:
    for more in (
        {"needs": ("hessian",)},
        {"premises": (Premise("p", "p", sum_of_steps, needs=("hessian",)),)},
    ):
        with pytest.raises(UnsupportedError, match="hessian"):
            search(user_claim(sum_of_steps, **more), ((1, 1),), most_rounds=1)

    def broken(_: xr.Dataset) -> xr.DataArray:
        raise KeyError("nothing here")

    for more in ({"measured": broken}, {"premises": (Premise("p", "p", broken),)}):
        with pytest.raises(UnsupportedError, match="nothing here"):
            search(user_claim(sum_of_steps, **more), ((1, 1),), most_rounds=1)
