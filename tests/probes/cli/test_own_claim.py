"""A bound of the user's own, in the one file that the docs show, goes everywhere that ours go."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import probes
from tests.conftest import Probe
from tests.support.clock import tick

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "own-claim.md"


@pytest.fixture(scope="module")
def own_claim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's example, as a file and a name in it."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    (code,) = [block for block in blocks if "FROBENIUS = Claim(" in block]
    path = tmp_path_factory.mktemp("own") / "frobenius.py"
    path.write_text(code, "utf-8")
    return f"{path}:FROBENIUS"


@pytest.fixture(scope="module")
def run(probe: Probe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaky ReLU network without biases, which satisfies the example's premises."""
    folder = tmp_path_factory.mktemp("leaky")
    shape = ("--depth", 2, "--width", 6, "--activation", "leaky_relu:0.5", "--no-bias")
    done = probe(
        "train",
        *shape,
        "--epochs",
        1,
        "--checkpoints",
        2,
        "--batch-size",
        20,
        "--data",
        data,
        "--out",
        folder / "net",
    )
    assert done.exit_code == 0, done.output
    options = ("--etas", "0.01,0.1", "--dtype", "float64", "--data", data)
    done = probe("run", folder / "net", *options, "--out", folder / "run")
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_it_is_listed(probe: Probe, own_claim: str) -> None:
    listed = json.loads(probe("claims", "--claim", own_claim, "--json").stdout)
    assert listed[-1]["claim"] == "frobenius-product"
    assert len(listed) == len(json.loads(probe("claims", "--json").stdout)) + 1


def test_it_is_judged_and_drawn_on_the_ladder(
    probe: Probe, own_claim: str, run: Path, tmp_path: Path
) -> None:
    done = probe(
        "report", run, "--claim", own_claim, "--format", "png", "--out", tmp_path / "report", "--json"
    )
    assert done.exit_code == 0, done.output
    verdicts = [v for v in json.loads(done.stdout)["verdicts"] if v["claim"] == "frobenius-product"]
    assert [v["status"] for v in verdicts] == ["holds", "holds"]
    (numbers,) = (tmp_path / "report").glob("ladder-*.csv")
    with numbers.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["series"] == "frobenius-product"]
    measurements = probes.load(run).isel(checkpoint=-1)
    # by hand, at η = 0.1: ‖x‖ [∏(‖W‖ + ‖ΔW‖) − ∏‖W‖] / ‖f‖, the largest over the examples
    sizes = measurements.weight_norm.values
    steps = measurements.perturbation_norm.sel(eta=0.1).values
    whole = math.prod(sizes + steps) - math.prod(sizes)
    by_hand = np.log10(np.max(measurements.input_norm.values / measurements.output_norm.values) * whole)
    label = str(measurements.checkpoint.values)
    drawn = [float(row["y"]) for row in rows if row["checkpoint"] == label and float(row["x"]) == 0.1]
    assert drawn[0] == pytest.approx(by_hand, abs=1e-9)


def test_it_is_attacked(probe: Probe, own_claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tick(monkeypatch, 0.02)
    done = probe("falsify", own_claim, "--budget", 3, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["witness"] is None  # it is a theorem
    assert found["trials"] > 100
    assert found["worst_log10_ratio"] == pytest.approx(0, abs=1e-6)  # one layer of width 1 attains it


def test_a_false_one_is_refuted_and_certified_through_intervals(
    probe: Probe, own_claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick(monkeypatch, 0.1)
    path, _, name = own_claim.rpartition(":")
    code = Path(path).read_text("utf-8").replace("(grown - sizes)", "(grown - sizes) / 2")
    assert "/ 2" in code
    (tmp_path / "half.py").write_text(code, "utf-8")
    spec = f"{tmp_path / 'half.py'}:{name}"
    found = json.loads(probe("falsify", spec, "--budget", 30, "--json").stdout)
    assert found["certified"] is True
    witness = tmp_path / "witness.json"
    witness.write_text(json.dumps(found["witness"]), "utf-8")
    assert "the inequality FAILS" in probe("falsify", "--replay", witness, "--claim", spec).stdout
    # the same network does not refute the true form
    assert "does not fail" in probe("falsify", "--replay", witness, "--claim", own_claim).stdout


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("nowhere.py:X", "no such file"),
        ("frobenius", "write it as"),
        ("json:dumps", "not a trust.claims.Claim"),
        ("json:nothing", "that is nothing"),
        ("trust.claims.theorem1:FUNCTION", "already"),
    ],
)
def test_what_is_no_claim_is_refused_in_one_line(probe: Probe, spec: str, why: str) -> None:
    done = probe("claims", "--claim", spec)
    assert done.exit_code == 2
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
