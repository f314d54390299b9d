"""What Python code may give: lists and arrays, loaders and dicts, torch's losses; and what it is told of the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from probes import InputError, SliceSettings, measure_slice
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.loss_functions import cross_entropy
from probes.data.losses import resolve_loss
from probes.measures.etas import parse_etas
from probes.networks.kinds import build
from probes.networks.perceptron import PerceptronSpec

DRAW = torch.Generator().manual_seed(0)
X = torch.randn(11, 4, generator=DRAW)
Y = torch.arange(11) % 3
QUICK = {"limit": False, "curvature": None, "ladder": False, "split": "none", "spectra": "none"}
SETTINGS = SliceSettings(etas=[0, 0.01, 0.1], dtype="float64", **QUICK)  # type: ignore[arg-type]


def network(outputs: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs))


def measured(*data: Any, **options: Any) -> xr.Dataset:
    return measure_slice(network(), *data, **{"settings": SETTINGS, **options})


FORMS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "tensors": lambda: (X, Y),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "an array and a list": lambda: (X.numpy(), Y.tolist()),
    "small labels": lambda: (X, Y.to(torch.uint8)),
    "a pair": lambda: ((X, Y),),
    "a dict": lambda: ({"x": X, "y": Y},),
    "a dict of lists": lambda: ({"x": X.tolist(), "y": Y.tolist()},),
    "a loader": lambda: (DataLoader(TensorDataset(X, Y), batch_size=4),),
    "a data set": lambda: (TensorDataset(X, Y),),
    "batches": lambda: ([(X[:4], Y[:4]), (X[4:], Y[4:])],),
}


class Named(nn.Module):
    """Takes its inputs by name, as data in dicts give them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.inner(x)
        return outputs


@pytest.mark.parametrize("form", FORMS)
def test_data_in_any_form_is_the_same_data(form: str) -> None:
    expected = measured(X, Y)["gradient_change"].values
    data = FORMS[form]()
    model = Named() if isinstance(data[0], dict) else network()
    found = measure_slice(model, *data, settings=SETTINGS)["gradient_change"].values
    assert (expected[0, 1:] > 0).all()
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # lists are the same numbers, rounded to float32


def test_a_list_of_dicts_is_batches_of_dicts() -> None:
    batches = [{"x": X[:4], "labels": Y[:4]}, {"x": X[4:], "labels": Y[4:]}]
    found = measure_slice(Named(), batches, settings=SETTINGS)
    np.testing.assert_allclose(found["loss"], measured(X, Y)["loss"], rtol=1e-12)


def test_whole_numbers_are_features_of_a_perceptron() -> None:
    perceptron = build(PerceptronSpec(widths=(2, 4, 3), activation="relu", biases=(True, True)))
    found = measure_slice(perceptron, [[1, 2], [3, 4], [5, 7]], [0, 1, 2], settings=SETTINGS)
    assert np.isfinite(found["loss"]).all()


def test_settings_have_a_default() -> None:
    found = measure_slice(network(), X, Y)
    np.testing.assert_array_equal(found["eta"], parse_etas("log"))
    assert found.attrs["dtype"] == "float32"


def test_a_device_may_be_whatever_there_is() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert measured(X, Y, settings=replace(SETTINGS, device="auto")).attrs["device"].startswith(device)


REAL, POSITIVE = torch.randn(11, 3, generator=DRAW), torch.rand(11, 3, generator=DRAW)
WEIGHTS = torch.tensor([1.0, 2.0, 3.0])
LOSSES: dict[str, tuple[Any, torch.Tensor]] = {
    "cross-entropy": (nn.CrossEntropyLoss(), Y),
    "cross-entropy, smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), Y),
    "cross-entropy, probabilities": (nn.CrossEntropyLoss(), POSITIVE / POSITIVE.sum(1, keepdim=True)),
    "the function": (functional.cross_entropy, Y),
    "mse": (nn.MSELoss(), REAL),
    "the function mse": (functional.mse_loss, REAL),
    "l1": (nn.L1Loss(), REAL),
    "huber": (nn.HuberLoss(delta=0.5), REAL),
    "poisson": (nn.PoissonNLLLoss(), POSITIVE),
    "margins": (nn.MultiMarginLoss(p=2, weight=WEIGHTS), Y),
    "logits": (nn.BCEWithLogitsLoss(), POSITIVE.round()),
    "weighted logits": (nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), POSITIVE.round()),
    "one number an example": (nn.CrossEntropyLoss(weight=WEIGHTS, reduction="none"), Y),
}


@pytest.mark.parametrize("name", LOSSES)
def test_torch_losses_are_what_torch_says_they_are(name: str) -> None:
    loss, targets = LOSSES[name]
    found = measured(
        X, targets, loss=loss, settings=SliceSettings(etas=[0, 0.1], dtype="float64", chunk=4, **QUICK)
    )  # type: ignore[arg-type]
    model = network().double()
    exact = targets.double() if targets.is_floating_point() else targets
    if isinstance(loss, nn.Module):
        loss = loss.double()
    expected = loss(model(X.double()), exact).mean()
    np.testing.assert_allclose(float(found["loss"][0, 0]), expected.item(), rtol=1e-12)
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    norms = [float(gradient.norm()) for gradient in gradients]
    np.testing.assert_allclose(found["gradient_norm"][0, 0], norms, rtol=1e-9)


def test_a_default_loss_is_known_by_its_name() -> None:
    labels, real = Batches([Batch(X, Y)]), Batches([Batch(X, REAL)])
    assert resolve_loss(nn.CrossEntropyLoss(), labels) == ("cross-entropy", cross_entropy)
    assert resolve_loss(functional.mse_loss, real)[0] == "mse"
    assert resolve_loss(nn.HuberLoss(delta=0.5), real)[0] == "HuberLoss(delta=0.5)"
    assert resolve_loss(nn.CrossEntropyLoss(label_smoothing=0.1), labels)[0] == (
        "CrossEntropyLoss(ignore_index=-100, label_smoothing=0.1)"
    )


class Mine(nn.Module):
    """A mean over the batch of somebody's own."""

    reduction = "mean"

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets) ** 2


@pytest.mark.parametrize(
    ("loss", "targets", "part"),
    [
        (nn.CrossEntropyLoss(weight=WEIGHTS), Y, "with weights divides by their sum over the batch; give it with"),
        (nn.NLLLoss(weight=WEIGHTS), Y, 'reduction="none"'),
        (nn.CrossEntropyLoss(ignore_index=2), Y, "leaves out labels 2"),
        (nn.MSELoss(reduction="sum"), REAL, 'reduction="sum" is no mean; give reduction="none"'),
        (nn.KLDivLoss(reduction="batchmean"), REAL, 'give reduction="none"'),
        (nn.TripletMarginLoss(), Y, "no loss of (outputs, targets)"),
        (nn.MSELoss(), REAL[:, :2], "do not fit"),
        (Mine(), Y, 'got shape (); torch\'s own do with reduction="none"'),
        ("huber", REAL, "`loss='huber'`: unknown"),
        (None, REAL, "say `loss='mse'`"),
    ],
)  # fmt: skip
def test_other_losses_are_answered_in_a_line(loss: Any, targets: torch.Tensor, part: str) -> None:
    with pytest.raises(InputError) as caught:
        measured(X, targets, loss=loss)
    assert part in str(caught.value)
    assert "--" not in str(caught.value)


def test_token_losses_that_weigh_examples_otherwise_are_refused() -> None:
    tokens = torch.tensor([[0, 1, 2], [1, -100, 2]])
    x = torch.randn(2, 3, 4, generator=DRAW)
    ours = measured(x, tokens.clamp(0), loss=nn.CrossEntropyLoss())  # (n, t, classes), as here

    with pytest.raises(InputError, match="leaves out labels -100"):
        measured(x, tokens, loss=nn.CrossEntropyLoss())
    lengths = [(x, tokens.clamp(0)), (x[:, :2], tokens[:, :2].clamp(0))]
    with pytest.raises(InputError, match="weighs longer examples more"):
        measured(lengths, loss=nn.CrossEntropyLoss())
    expected = functional.cross_entropy(network().double()(x.double()).movedim(-1, 1), tokens.clamp(0))
    np.testing.assert_allclose(float(ours["loss"][0, 0]), expected.item(), rtol=1e-12)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ((X, Y[:5]), "x and y must be as long as each other"),
        ((X[:, :3], Y), "the network cannot take it"),
        ((X, Y + 1), "labels run from 1 to 3, but the network has 3 outputs"),
        ((X.where(X < 0, torch.nan), Y), "NaN"),
        (("mnist",), "give x and y"),
        (([],), "no examples"),
        ((X.tolist(), ["a"] * 11), "must be arrays of numbers"),
    ],
)
def test_data_that_cannot_be_used_is_named_without_options(data: Any, part: str) -> None:
    with pytest.raises(InputError) as caught:
        measured(*data)
    assert part in str(caught.value)
    assert str(caught.value).startswith("the data: ")
    assert "--" not in str(caught.value)


def test_what_is_no_network_and_what_are_no_settings() -> None:
    network, x, y = nn.Linear(3, 2), torch.randn(4, 3), torch.arange(4) % 2
    with pytest.raises(InputError, match="network: is a OrderedDict, not a torch module"):
        measure_slice(network.state_dict(), x, y)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"settings: is a dict; give probes\.SliceSettings\(etas="):
        measure_slice(network, x, y, settings={"etas": [0.1]})  # type: ignore[arg-type]


def test_the_loss_is_named_in_the_result() -> None:
    network, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
    bare = {"etas": [0, 0.01], "limit": False, "ladder": False, "curvature": None, "spectra": "none"}
    found = measure_slice(network, x, torch.arange(5) % 3, settings=SliceSettings(**bare))
    assert found.attrs["loss"] == "cross-entropy"
    found = measure_slice(network, x, torch.zeros(5, 3), settings=SliceSettings(**bare), loss="mse")
    assert found.attrs["loss"] == "mse"
