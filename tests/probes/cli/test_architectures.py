"""probe run and probe report over the architectures that users have, against a plain loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import probes
from analysis import Status, judge
from probes.networks.kinds import build
from probes.networks.named import NAMED
from tests.conftest import Probe
from tests.probes.measures.examples import (
    CASES,
    ETAS,
    Case,
    looped,
    numbers,
    prepared,
)

NAMES = (
    "perceptron",
    "convolution",
    "residual",
    "transformer",
    "recurrent",
    "tied",
    "weight norm",
    "attention",
)
ARCHITECTURES = {
    **{name: CASES[name] for name in NAMES},
    "residual 16": Case(lambda: build(NAMED["residual16"](784, 10, "none")), lambda: numbers(784), 10),
}
DRAWN = ("attention", "residual 16")  # layers of which little is known, and many of them


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_run_and_report_agree_with_a_plain_loop(name: str, probe: Probe, tmp_path: Path) -> None:
    network, x, y = prepared(ARCHITECTURES[name])
    torch.save({"model_state_dict": network.state_dict(), "step": 7}, tmp_path / "net.pt")
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    code = (
        "from tests.probes.cli.test_architectures import ARCHITECTURES\n\n\n"
        f"def make():\n    return ARCHITECTURES[{name!r}].make().double()\n"
    )
    (tmp_path / "nets.py").write_text(code, "utf-8")
    done = probe(
        *("run", tmp_path / "net.pt", "--network", f"{tmp_path / 'nets.py'}:make"),
        *("--data", tmp_path / "data.npz", "--etas", ",".join(map(str, ETAS[1:])), "--dtype", "float64"),
        *("--no-limit", "--out", tmp_path / "results"),
    )
    assert done.exit_code == 0, done.output
    measurements = probes.load(tmp_path / "results").isel(checkpoint=0)
    assert measurements["eta"].values[1] == 1e-4  # on every grid
    measurements = measurements.sel(eta=ETAS)
    assert float(measurements["step"]) == 7
    plain = looped(network, x, y, batchnorm="running")
    frozen = plain[0][1]
    for k, (loss, gradients) in enumerate(plain):
        # float64 sums of a few hundred terms in another order, and the breakdown at η = 1e-3 divides by 1e-3
        assert float(measurements["loss"][k]) == pytest.approx(loss, rel=1e-10)
        for layer, gradient in gradients.items():
            size = float(frozen[layer].norm())
            if size < 1e-12:
                continue  # a bias before a norm, or the softmax's shift: rounding alone
            change = float((gradient - frozen[layer]).norm()) / size
            assert float(measurements["gradient_change"].sel(layer=layer)[k]) == pytest.approx(
                change, rel=1e-8, abs=1e-11
            )
    verdicts = {verdict.claim: verdict for verdict in judge(probes.load(tmp_path / "results"))}
    assert verdicts["deep-relative-trust"].status in (Status.WITHIN_FACTOR, Status.OFF_BY_FACTOR)
    assert verdicts["lemma1"].status is not Status.REFUTED
    if name != "perceptron":
        unknown = name == "weight norm"  # a chain, but of weights that are made of others
        assert verdicts["spectral-product"].premises["chain of layers"] is (None if unknown else False)
    if name in DRAWN:
        done = probe("report", tmp_path / "results", "--format", "svg", "--json")
        assert done.exit_code == 0, done.output
        document = json.loads(done.stdout)
        assert [one["status"] for one in document["verdicts"]] == [
            one.status.value for one in verdicts.values()
        ]
        assert all(Path(figure).is_file() for figure in document["figures"])
