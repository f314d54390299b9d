"""Each command does its job, and its JSON has the promised keys."""

from __future__ import annotations

import csv
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import probes
from analysis import Status, judge, step_limits
from probes.checkpoints.checkpoint import read_checkpoint
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line
from trust import distance_between
from trust.claims import all_claims


def test_train_saves_checkpoints_that_say_what_they_are(trained: Path) -> None:
    files = sorted(trained.glob("*.safetensors"))
    assert [file.name for file in files] == [f"checkpoint-{step:06d}.safetensors" for step in (0, 9, 18)]
    details = read_checkpoint(files[-1]).details
    assert details["network"]["widths"] == [6, 8, 8, 3]
    assert details["step"] == 18
    assert details["train_accuracy"] > 0.5  # chance is 1/3: it has learnt
    with (trained / "training.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == list(range(18))
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)


def test_train_on_the_full_batch(probe: Probe, data: Path, tmp_path: Path) -> None:
    shape = ("train", "--data", data, "--depth", 2, "--width", 4, "--optimizer", "sgd", "--epochs", 3)
    full = (*shape, "--batch-size", "all", "--loss", "half-square", "--checkpoints", 2)
    result = probe(*full, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "run").glob("*.safetensors"))
    assert [read_checkpoint(file).details["step"] for file in files] == [0, 3]  # an epoch is a step
    assert read_checkpoint(files[0]).details["batch_size"] == len(np.load(data)["y"])
    assert probe("run", tmp_path / "run", "--out", tmp_path / "results").exit_code == 0
    assert probes.load(tmp_path / "results").attrs["loss"] == "half-square"
    result = probe(*shape, "--batch-size", "most", "--out", tmp_path / "none")
    assert result.exit_code == 2
    assert "'most' is neither a number nor all" in result.stderr
    result = probe(*shape, "--lr-decay", "linear", "--out", tmp_path / "none")
    assert (result.exit_code, "'linear' is neither a number nor cosine" in result.stderr) == (2, True)
    one_line(probe(*shape, "--rho", 0.1, "--out", tmp_path / "none"), "--rho 0.1: only --optimizer sam")
    y = np.load(data)["y"]
    np.savez(tmp_path / "more.npz", x=np.load(data)["x"], y=np.where(y == 0, 7, y))
    more = probe("run", tmp_path / "run", "--data", tmp_path / "more.npz", "--out", tmp_path / "none")
    one_line(more, "labels run from")


def test_run_and_report(probe: Probe, measured: Path, tmp_path: Path) -> None:
    measurements = probes.load(measured)
    assert dict(measurements.sizes) | {"example": 60} == {
        "checkpoint": 3,
        "eta": 5,
        "layer": 6,
        "example": 60,
        "quantile": 3,
    }
    assert measurements.attrs["complete"] == "true"
    result = probe("report", measured, "--out", tmp_path / "report", "--format", "png", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document) == {"summary", "verdicts", "split", "curvature", "warnings", "figures", "page"}
    (short,) = document["summary"]
    assert set(short) == {"network", "probed", "holds", "breaks", "safe step", "how sure", "alarms"}
    assert (short["network"], short["alarms"]) == ("3 layers", [])
    assert len(document["split"]) == 9  # three weight matrices at three checkpoints
    for row in document["split"]:
        assert row["constant"] == pytest.approx(row["jacobian_part"] + row["residual_part"], rel=1e-9)
    keys = {"claim", "checkpoint", "status", "premises", "holds_fraction", "worst_log10_ratio", "constant"}
    assert all(keys <= set(verdict) for verdict in document["verdicts"])
    trust = [v for v in document["verdicts"] if v["claim"] == "deep-relative-trust"]
    assert [v["checkpoint"] for v in trust] == [str(label) for label in measurements["checkpoint"].values]
    # the verdict's constant against one computed here from the raw measurements
    one = measurements.isel(checkpoint=2)
    weights = one.isel(layer=np.flatnonzero(one["is_weight"].values))
    growth = float(np.prod(1 + weights["relative_perturbation"].isel(eta=1).values) - 1)
    expected = float(weights["gradient_change"].isel(eta=1).max()) / growth
    assert trust[2]["constant"] == pytest.approx(expected, rel=1e-9)
    assert all(Path(figure).is_file() for figure in document["figures"])
    assert (tmp_path / "report" / "report.md").read_text().count("![") >= 4


def test_limit_agrees_with_run(probe: Probe, trained: Path, measured: Path) -> None:
    result = probe("limit", trained, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["depth"] for row in found] == [3, 3, 3]
    measurements = probes.load(measured)
    for row, expected in zip(found, measurements["step_limit"].values, strict=True):
        keys = (
            "checkpoint depth cos_theta constant lemma2 calibrated curvature predicted measured evaluations"
        )
        keys += " predicted_gradients predicted_losses certified certified_examples loss chance_loss accuracy"
        assert set(row) == set(keys.split())
        assert (row["certified"], row["certified_examples"]) == (None, 0)
        assert row["lemma2"] == pytest.approx(2 ** (1 / 3) - 1, rel=1e-6)
        # both search to 0.2 %, from different brackets
        assert row["measured"] == pytest.approx(float(expected), rel=5e-3)
        assert row["calibrated"] == pytest.approx(math.expm1(math.log1p(1 / row["constant"]) / 3), rel=1e-6)


@pytest.mark.parametrize("precision", ["full", "bfloat16"])
def test_limit_and_report_agree_in_every_column(
    probe: Probe, trained: Path, tmp_path: Path, precision: str
) -> None:
    """What is computed is the same number; what is searched for, on two grids, is the same to its accuracy.

    In bfloat16 the breakdown is rounding at the η where C is read off else.
    """
    given = (trained, "--precision", precision, "--pattern", 7)
    assert probe("run", *given, "--out", tmp_path / "run").exit_code == 0
    limits = step_limits(probes.load(tmp_path / "run"))
    found = json.loads(probe("limit", *given, "--json").stdout)
    searched = {"measured": 0.0095, "certified": 0.02}  # as MeasuredStepLimit and Pattern say
    columns = ("cos_theta", "constant", "lemma2", "calibrated", "curvature", "predicted", *searched)
    for place, row in enumerate(found):
        for name in columns:
            value = np.nan if row[name] is None else row[name]
            expected = pytest.approx(
                float(limits[name][place]), rel=2 * searched.get(name, 1e-15), nan_ok=True
            )
            assert value == expected, (row["checkpoint"], name)
    hessian = probes.load(tmp_path / "run")[["slope_at_zero", "curvature"]]
    for one, row in zip(hessian.transpose("checkpoint").to_dataframe().itertuples(), found, strict=True):
        limit = -2 * one.slope_at_zero / one.curvature
        assert row["curvature"] == (pytest.approx(limit, rel=1e-12) if one.curvature > 0 else None)
    assert any(row["curvature"] is not None for row in found)


def test_limit_certifies_a_step_of_as_many_examples_as_are_asked_for(probe: Probe, trained: Path) -> None:
    result = probe("limit", trained, "--pattern", 7, "--json")
    assert result.exit_code == 0, result.output
    for row in json.loads(result.stdout):
        assert row["certified_examples"] == 7
        assert 0 <= row["certified"] < row["measured"] * 2  # of these 7, not of all
    table = probe("limit", trained, "--pattern", 7).output
    assert "(of 7 examples)" in table


def test_distance(probe: Probe, trained: Path) -> None:
    files = sorted(trained.glob("*.safetensors"))
    result = probe("distance", files[0], files[-1], "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [layer["name"] for layer in document["layers"]] == [f"layers.{k}.weight" for k in range(3)]
    before, after = (
        {n: t.numpy() for n, t in read_checkpoint(f).tensors.items()} for f in (files[0], files[-1])
    )
    assert document["distance"] == pytest.approx(distance_between(before, after))
    assert "deep relative trust" in probe("distance", files[0], files[-1]).stdout


def test_distance_along_a_folder(probe: Probe, trained: Path, tmp_path: Path) -> None:
    files = sorted(trained.glob("*.safetensors"))
    steps = json.loads(probe("distance", trained, "--json").stdout)["steps"]
    assert [(step["before"], step["after"]) for step in steps] == [
        (str(before), str(after)) for before, after in pairwise(files)
    ]
    for step in steps:
        alone = json.loads(probe("distance", step["before"], step["after"], "--json").stdout)
        assert alone == {"distance": step["distance"], "layers": step["layers"]}
    lines = probe("distance", trained).stdout.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [[a.name, b.name] for a, b in pairwise(files)]
    most = max(steps[0]["layers"], key=lambda layer: layer["relative"])
    assert lines[2].endswith(most["name"])
    one_line(probe("distance", files[0]), "is one checkpoint")
    one_line(probe("distance", trained, files[0]), "holds 3 checkpoints; name one")
    (tmp_path / "one").mkdir()
    shutil.copy(files[1], tmp_path / "one")
    alone = json.loads(probe("distance", tmp_path / "one", files[2], "--json").stdout)
    assert alone["distance"] == steps[1]["distance"]


def test_export_is_tidy_and_exact(probe: Probe, measured: Path, tmp_path: Path) -> None:
    assert probe("export", measured, tmp_path / "r.csv").exit_code == 0
    with (tmp_path / "r.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["variable"] == "gradient_change"]
    change = probes.load(measured)["gradient_change"]
    assert len(rows) == change.size
    for row in rows[:: len(rows) // 7]:
        expected = change.sel(checkpoint=row["checkpoint"], eta=float(row["eta"]), layer=row["layer"])
        assert float(row["value"]) == float(expected)


def test_claims_lists_the_registry(probe: Probe) -> None:
    document = json.loads(probe("claims", "--json").stdout)
    known = {claim["claim"] for claim in document}
    assert {"theorem1-function", "theorem1-jacobian", "deep-relative-trust", "lemma1", "lemma2"} <= known
    text = probe("claims").stdout
    assert all(claim["claim"] in text and claim["statement"] in text for claim in document)
    assert all(claim["formula"] not in text for claim in document)  # LaTeX is for pages


def statuses(claim: str, measurements: xr.Dataset) -> list[Status]:
    """Of each checkpoint."""
    return [verdict.status for verdict in judge(measurements, [all_claims()[claim]])]


@pytest.mark.parametrize("direction", ["noise", "update"])
def test_other_directions(probe: Probe, trained: Path, tmp_path: Path, direction: str) -> None:
    result = probe("run", trained, "--direction", direction, "--etas", "0.01,0.1", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    measurements = probes.load(tmp_path / "run")
    assert measurements.attrs["direction"] == direction
    assert measurements.sizes["checkpoint"] == (2 if direction == "update" else 3)
    assert Status.REFUTED not in statuses("lemma1", measurements)
    found = judge(measurements, ["theorem1-jacobian"])  # of a network with biases, which no option would mend
    assert {one.status for one in found} == {Status.PREMISE_FAILS}
    assert all(one.remark.endswith("no biases, transmission: not measured") for one in found)


def test_a_foreign_state_dict_needs_no_python(probe: Probe, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3, bias=False))
    torch.save(
        {"epoch": 3, "model_state_dict": net.state_dict(), "optimizer": {"state": {}}}, tmp_path / "theirs.pt"
    )
    arguments = [
        tmp_path / "theirs.pt",
        "--data",
        data,
        "--etas",
        "0.01",
        "--dtype",
        "float64",
        "--out",
        tmp_path / "r",
    ]
    refused = probe("run", *arguments)
    assert refused.exit_code == 2
    assert "--activation" in refused.stderr
    result = probe("run", *arguments, "--activation", "tanh")
    assert result.exit_code == 0, result.output
    measurements = probes.load(tmp_path / "r")
    assert [str(name) for name in measurements["layer"].values] == ["0.weight", "0.bias", "2.weight"]
    with np.load(data) as arrays:
        x, y = torch.from_numpy(arrays["x"]).double(), torch.from_numpy(arrays["y"])
    expected = torch.nn.functional.cross_entropy(net.double()(x), y).item()
    assert float(measurements["loss"][0, 0]) == pytest.approx(expected, rel=1e-12)


def test_spectra_can_be_left_out(probe: Probe, trained: Path, tmp_path: Path) -> None:
    result = probe("run", trained, "--spectra", "none", "--etas", "0.001,0.01", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    measurements = probes.load(tmp_path / "run")
    assert bool(measurements["condition_number"].isnull().all())
    assert statuses("deep-relative-trust", measurements)[-1] in (Status.WITHIN_FACTOR, Status.OFF_BY_FACTOR)
    assert set(statuses("lemma2-with-constant", measurements)) == {Status.NOT_MEASURED}
