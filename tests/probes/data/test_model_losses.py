"""Losses that call the network themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.verdicts import Status, judge
from probes import InputError, SliceSettings, measure_slice
from probes.data.loaders import read_batches
from tests.probes.data.examples import Language, X, Y, by_loop, language_batches, made, plain


def token_mean(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """A mean over all words of a batch, which is none over its sentences."""
    ids = batch["input_ids"]
    mask = batch.get("attention_mask", torch.ones_like(ids))
    logits = model(**batch).logits[:, :-1]
    losses = nn.functional.cross_entropy(logits.movedim(-1, 1), ids[:, 1:], reduction="none")
    return (losses * mask[:, 1:]).sum() / mask[:, 1:].sum()


def test_a_loss_of_model_and_batch() -> None:
    network, data = made(Language), language_batches(masked=True)
    batches = read_batches(data, "--data mine")[0]
    etas = np.array([0.0, 1e-4, 2e-4])
    settings = SliceSettings(etas, dtype="float64", jacobian=2, chunk=2)
    found = measure_slice(network, batches, settings=settings, loss=token_mean).isel(checkpoint=0)
    weights = [len(batch["input_ids"]) / 7 for batch in data]
    mean = sum(w * token_mean(network, batch) for w, batch in zip(weights, data, strict=True))
    assert isinstance(mean, Tensor)
    assert float(found["loss"][0]) == pytest.approx(float(mean.detach()), rel=1e-10)
    gradients = torch.autograd.grad(mean, list(network.parameters()))
    norms = [float(gradient.norm()) for gradient in gradients]
    np.testing.assert_allclose(found["gradient_norm"][0], norms, rtol=1e-10)
    loss, slope = found["loss"].values, found["slope"].values
    assert slope[1] == pytest.approx((loss[2] - loss[0]) / 2e-4, rel=1e-5)
    assert float(found["noise_floor"].max()) < 1e-12
    assert np.isnan(found["accuracy"]).all()
    for name in ("output_change", "output_noise_floor", "jacobian_change", "perturbation_response"):
        assert name not in found
    verdicts = {v.claim: v for v in judge(found.expand_dims("checkpoint"))}
    for claim in ("theorem1-function", "theorem1-jacobian", "spectral-product", "linearisation-remainder"):
        assert verdicts[claim].status == Status.NOT_MEASURED, claim
        assert "(model, batch)" in verdicts[claim].remark
    assert verdicts["deep-relative-trust"].status != Status.NOT_MEASURED
    settings = SliceSettings(etas, direction="adversarial", ascent_steps=1, restarts=0)
    with pytest.raises(InputError, match="use `objective='breakdown'`"):
        measure_slice(network, batches, settings=settings, loss=token_mean)


def test_a_loss_may_use_all_of_the_model() -> None:
    network = made(plain)

    def decayed(model: nn.Sequential, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        losses = nn.functional.cross_entropy(model[2](model[1](model[0](x))), y, reduction="none")
        return losses + sum((w**2).sum() for w in model.parameters())

    etas = np.array([0.0, 1e-4, 2e-4])
    settings = SliceSettings(etas, dtype="float64", chunk=4)
    found = measure_slice(network, X, Y, settings=settings, loss=decayed).isel(checkpoint=0)
    losses = (decayed(network, (x[None], y[None]))[0] for x, y in zip(X, Y, strict=True))  # type: ignore[arg-type]
    expected, gradients = by_loop(network, losses)
    assert float(found["loss"][0]) == pytest.approx(expected, rel=1e-10)
    norms = [float(gradient.norm()) for gradient in gradients.values()]
    np.testing.assert_allclose(found["gradient_norm"][0], norms, rtol=1e-10)
    slope = (float(found["loss"][2]) - float(found["loss"][0])) / 2e-4
    assert float(found["slope"][1]) == pytest.approx(slope, rel=1e-5)
    for wrong in (lambda model, batch: 3.0, lambda model, batch: torch.zeros(2, 2)):
        with pytest.raises(InputError, match="one number an example"):
            measure_slice(network, X, Y, settings=settings, loss=wrong)
    with pytest.raises(InputError, match="no gradient"):
        measure_slice(
            network, X, Y, settings=settings, loss=lambda model, batch: model(batch[0]).mean().detach()
        )
