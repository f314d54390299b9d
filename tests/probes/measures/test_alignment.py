"""Alignment of layers' Jacobians: closed forms, dense matrices by torch and by hand, and what cannot be measured."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from probes import InputError
from tests.probes.measures.examples import CASES, measured, prepared
from tests.probes.measures.problems import linear
from tests.support.reference import make, make_data

N = 4
LEAN: dict[str, Any] = dict.fromkeys(("spot_check", "ladder"), False) | {
    "curvature": None,
    "etas": np.array([0.0, 1e-3]),
    "split": "none",
    "spectra": "none",
    "measure": ("breakdown", "alignment"),
}


def aligned(network: nn.Module, x: Tensor, y: Tensor, **more: Any) -> xr.Dataset:
    found = measured(network, x, y, **{**LEAN, "alignment": N, **more}).isel(example=slice(None, N))
    return found.isel(layer=np.flatnonzero(found["is_weight"].values))


def chain(*weights: Tensor) -> nn.Module:
    return nn.Sequential(*(linear(weight) for weight in weights))


def data(features: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    x, y = make_data(9, features, classes)
    return x.double(), y


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(seed: int, side: int) -> Tensor:
    found: Tensor = torch.linalg.qr(random(seed, side, side)).Q
    return found


def test_a_chain_of_rank_one_is_aligned_as_its_vectors_are() -> None:
    vectors = [vector / vector.norm() for vector in (random(k, side) for k, side in enumerate((6, 5, 4, 3)))]
    along = [(k + 2) * torch.outer(after, before) for k, (before, after) in enumerate(pairwise(vectors))]
    found = aligned(chain(*along), *data(6))
    np.testing.assert_allclose(found["whole_jacobian_alignment"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["jacobian_norm"], 2 * 3 * 4, rtol=1e-12)
    np.testing.assert_allclose(found["singular_vector_overlap"][:, :2], 1.0, rtol=1e-12)
    turned = random(9, 5) / random(9, 5).norm()
    along[0] = 2 * torch.outer(turned, vectors[0])
    cosine = abs(float(turned @ vectors[1]))
    found = aligned(chain(*along), *data(6))
    np.testing.assert_allclose(found["whole_jacobian_alignment"], np.log10(cosine), rtol=1e-10)
    np.testing.assert_allclose(found["singular_vector_overlap"][:, 0], cosine, rtol=1e-10)
    np.testing.assert_allclose(found["jacobian_alignment"], 0.0, atol=1e-12)  # of what follows the turn


def test_orthogonal_layers_are_aligned_whatever_their_vectors_and_the_tie_is_seen() -> None:
    found = aligned(chain(*(orthogonal(k, 5) for k in range(3))), *data(5, 5))
    np.testing.assert_allclose(found["whole_jacobian_alignment"], 0.0, atol=1e-12)
    np.testing.assert_allclose(found["layer_jacobian_second"], found["layer_jacobian_norm"], rtol=1e-12)


class Residual(nn.Module):
    """A block of two layers with a layer norm, and one of one layer with an activation behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (
            nn.Linear(inputs, outputs) for inputs, outputs in ((6, 8), (8, 4), (4, 8), (8, 8), (8, 3))
        )
        self.n = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(2 * x)
        h = h + self.c(torch.tanh(self.b(self.n(h))))
        h = h + self.d(h)
        found: Tensor = self.e(nn.functional.relu(h, inplace=True))
        return found


def pooled() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        for tensor in (norm.running_mean, norm.running_var, norm.weight):
            assert tensor is not None
            tensor.uniform_(0.5, 1.5)
    layers = (nn.Conv2d(1, 3, 3), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(3, 5, 3, padding=1))
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(45, 3))


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "relu": (lambda: make(activation="relu"), (6,)),
    "tanh": (lambda: make(activation="tanh"), (6,)),
    "residual": (lambda: make(residual=True), (6,)),
    "batch norm": (lambda: make(norm="batch"), (6,)),
    "layer norm": (lambda: make(norm="layer"), (6,)),
    "blocks": (Residual, (6,)),
    "pooled": (pooled, (1, 8, 8)),
    "wide": (lambda: make((70, 90, 80, 60)), (70,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_product_is_torchs_jacobian_of_the_whole_network(name: str) -> None:
    made, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network, x = made().double().eval(), torch.randn(9, *shape, dtype=torch.float64)
    found = aligned(network, x, torch.arange(9) % 3)
    jacobians = torch.stack(
        [
            jacobian(lambda one: network(one[None])[0], example).flatten(1)  # type: ignore[no-untyped-call]
            for example in x[:N]
        ]
    )
    exact = torch.linalg.svdvals(jacobians)[:, 0].numpy()
    np.testing.assert_allclose(found["jacobian_norm"], exact, rtol=1e-9)
    factors = np.log10(found["layer_jacobian_norm"].values)
    np.testing.assert_allclose(  # ‖J‖ = alignment × ∏‖A_k‖
        found["whole_jacobian_alignment"] + np.nansum(factors, 1), np.log10(exact), atol=1e-9
    )
    assert (found["whole_jacobian_alignment"] < -0.01).all()  # none is aligned by chance


@pytest.mark.parametrize("residual", [False, True])
def test_every_number_is_that_of_the_matrices_written_out(residual: bool) -> None:
    network, (x, y) = make((6, 8, 8, 3), "tanh", residual=residual), make_data(9)
    found = aligned(network, x, y)
    tensors = {name: tensor.detach().double() for name, tensor in network.named_parameters()}
    for row in range(N):
        h, matrices = x[row].double(), []
        for k in range(3):
            W, z = (
                tensors[f"layers.{k}.weight"],
                tensors[f"layers.{k}.weight"] @ h + tensors[f"layers.{k}.bias"],
            )
            new, A = (torch.tanh(z), (1 - torch.tanh(z) ** 2)[:, None] * W) if k < 2 else (z, W)
            skip = residual and k == 1
            h, A = (h + new, A + torch.eye(8, dtype=A.dtype)) if skip else (new, A)
            matrices.append(A)
        parts = [torch.linalg.svd(A, full_matrices=False) for A in matrices]
        norms = [float(part.S[0]) for part in parts]
        np.testing.assert_allclose(found["layer_jacobian_norm"][row], norms, rtol=1e-10)
        seconds = [float(part.S[1]) for part in parts]
        np.testing.assert_allclose(found["layer_jacobian_second"][row], seconds, rtol=1e-8)
        overlaps = [float((parts[k].U[:, 0] @ parts[k + 1].Vh[0]).abs()) for k in range(2)]
        np.testing.assert_allclose(found["singular_vector_overlap"][row], [*overlaps, np.nan], rtol=1e-8)
        suffix = float(torch.linalg.matrix_norm(matrices[2] @ matrices[1], 2)) / (norms[1] * norms[2])
        np.testing.assert_allclose(found["jacobian_alignment"][row], [np.log10(suffix), 0, 0], atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(["relu", "tanh", "identity"]), st.booleans())
def test_it_is_never_above_zero(seed: int, hidden: int, activation: str, residual: bool) -> None:
    network = make((6, *[7] * hidden, 3), activation, residual=residual, seed=seed)
    found = aligned(network, *make_data(9, seed=seed))
    for name in ("whole_jacobian_alignment", "jacobian_alignment"):
        assert not (found[name] > 0).any()
    assert (found["singular_vector_overlap"].fillna(0) <= 1).all()


def test_layers_that_pass_nothing_on_have_no_alignment_and_those_that_meet_nothing_none_at_all() -> None:
    dead = chain(torch.zeros(4, 6, dtype=torch.float64), random(1, 3, 4))
    found = aligned(dead, *data(6), direction="noise", layers="1*")
    assert found["whole_jacobian_alignment"].isnull().all()
    assert found["singular_vector_overlap"].isnull().all()
    assert (found["jacobian_norm"] == 0).all()
    ends = torch.eye(4, dtype=torch.float64)
    met = chain(ends[:, :2] @ random(1, 2, 6), random(2, 3, 2) @ ends[2:])
    found = aligned(met, *data(6))
    assert (found["whole_jacobian_alignment"] < -12).all()  # 0, or what rounding leaves of it


def test_a_run_in_float32_measures_the_very_weights_in_float64() -> None:
    network, (x, y) = make(activation="tanh"), make_data(9)
    single, double = (aligned(network, x, y, dtype=dtype) for dtype in ("float32", "float64"))
    for name in ("whole_jacobian_alignment", "singular_vector_overlap", "layer_jacobian_norm"):
        np.testing.assert_array_equal(single[name], double[name])


@pytest.mark.parametrize("name", ["attention", "recurrent", "transformer", "tied"])
def test_a_network_that_is_no_chain_of_known_layers_is_left_out_or_refused_by_name(name: str) -> None:
    case = CASES[name]
    network, x, y = prepared(case)
    found = measured(network, x, y, **{**LEAN, "alignment": 2, "measure": ("default",)})
    assert "jacobian_alignment" not in found
    with pytest.raises(InputError, match=r"measure='alignment'`: has no meaning for this network"):
        measured(network, x, y, **{**LEAN, "alignment": 2})


def test_more_examples_than_there_are_and_none_are_refused() -> None:
    network, (x, y) = make(), make_data(9)
    with pytest.raises(InputError, match="`alignment=10`: the data has 9 examples"):
        aligned(network, x, y, alignment=10)
    with pytest.raises(InputError, match="add `alignment=N`"):
        aligned(network, x, y, alignment=0)
    with pytest.raises(InputError, match=r"`batchnorm='batch'`.* leave `alignment` out"):
        aligned(make(norm="batch"), x, y, batchnorm="batch")
