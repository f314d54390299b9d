"""Verdicts on single claims, and small slices of real networks."""

from __future__ import annotations

import json

import numpy as np
import torch
import xarray as xr

from analysis import Status, judge
from analysis.verdicts import Verdict
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.slice import measure_slice
from trust.claims import all_claims

ETAS = np.array([0.0, 0.001, 0.01, 0.05])
CLAIMS = all_claims()


def verdict(claim: str, measurements: xr.Dataset) -> Verdict:
    (found,) = judge(measurements, [CLAIMS[claim]])
    json.dumps(found.to_json(), allow_nan=False)
    return found


def status(claim: str, measurements: xr.Dataset) -> Status:
    return verdict(claim, measurements).status


def real(
    widths: tuple[int, ...],
    activation: str = "leaky_relu:0.5",
    *,
    orthogonal: bool = False,
    direction: str = "noise",
    biases: bool = False,
    **rest: object,
) -> tuple[xr.Dataset, Perceptron]:
    torch.manual_seed(1)
    network = Perceptron(PerceptronSpec(widths, activation, biases=(biases,) * (len(widths) - 1)))
    if orthogonal:
        for tensor in network.parameters():
            torch.nn.init.orthogonal_(tensor)
    network = network.double()
    x, y = torch.randn(12, widths[0], dtype=torch.float64), torch.randint(0, widths[-1], (12,))
    settings = SliceSettings(
        etas=np.array([0.0, 1e-3, 1e-2, 0.1]),
        direction=direction,
        dtype="float64",
        samples=5,
        jacobian=3,
        spectra="slice",
        **rest,  # type: ignore[arg-type]
    )
    return measure_slice(network, x, y, settings=settings), network
