"""What files say of themselves, in words and numbers that no one would write: one line each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save

from probes.checkpoints.checkpoint import write_checkpoint
from probes.checkpoints.safetensors_file import UNSEALED
from probes.data.dataset import load_data
from probes.networks.activations import parse_activation
from probes.networks.kinds import read_spec
from tests.conftest import Probe
from tests.guarantees.hostile_files.refusals import one_line
from tests.probes.cli.refusals import one_line as refused
from tests.support.idx import idx
from tests.support.reference import make

RUN = ["--etas", "0.01,0.1", "--no-limit", "--no-ladder", "--no-curvature"]
DIGITS = "9" * 5000
NESTED = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def described(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of ours that says what is asked for."""
    made = make()

    def write(*, change: Callable[[str], str] = str, **details: Any) -> Path:
        path = tmp_path / "net.safetensors"
        text = json.dumps({"network": made.spec.to_json(), "step": 0, **details})
        path.write_bytes(save(made.state_dict(), {UNSEALED: change(text)}))
        return path

    return write


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("text:PIPE", "is not a plain file"),
        ("PIPE", "no such file"),
        ("mnist:PIPE", "no such folder"),
        ("text:/dev/zero", "is not a plain file"),
        ("text:a\0b", "description is damaged"),
        ("a\0b", "description is damaged"),
        ("mnist:a\0b", "description is damaged"),
        ("\ud800", "description is damaged"),
        ("text:\x1b[31m", "description is damaged"),
        pytest.param("x" * 5000, "description is damaged", id="long"),
        pytest.param("text:" + "x" * 3000, "File name too long", id="long name of a text"),
        pytest.param("y" * 3000, "File name too long", id="long name"),
        pytest.param(10**400, "description is damaged", id="number"),
        ([[]], "description is damaged"),
    ],
)
def test_data_that_are_named(
    probe: Probe, described: Callable[..., Path], tmp_path: Path, spec: Any, part: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    spec = spec.replace("PIPE", str(pipe)) if isinstance(spec, str) else spec
    result = probe("run", described(data=spec), *RUN, "--out", tmp_path / "out")
    refused(result, part)
    assert len(result.stderr) < 2000
    assert result.stderr.strip().isprintable()
    assert not (tmp_path / "out").exists()


HUGE = [pytest.param(sign * 10**400, id=f"{sign}e400") for sign in (1, -1)]


@pytest.mark.parametrize("name", ["step", "epoch", "train_accuracy"])
@pytest.mark.parametrize("value", [*HUGE, 2**53, True, "3", [], "\x1b[31m", float("inf"), float("nan")])
def test_numbers_that_are_said(
    probe: Probe, described: Callable[..., Path], data: Path, tmp_path: Path, name: str, value: Any
) -> None:
    arguments = ["run", described(**{name: value}), "--data", data, *RUN, "--out", tmp_path / "out"]
    refused(probe(*arguments), "net.safetensors", f"description is damaged ({name}", "train again")


@pytest.mark.parametrize("text", [DIGITS, f"-{DIGITS}", NESTED, "1e999", "{", '"'], ids=len)
def test_descriptions_that_are_no_json(
    probe: Probe, described: Callable[..., Path], data: Path, tmp_path: Path, text: str
) -> None:
    path = described(change=lambda whole: whole.replace('"step": 0', f'"step": {text}'))
    refused(probe("run", path, "--data", data, *RUN, "--out", tmp_path / "out"), "description is damaged")


def test_a_loss_that_is_said(
    probe: Probe, described: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    for loss in ("a\0b", "x" * 5000, 10**400, "os:system", "unheard-of"):
        refused(probe("run", described(loss=loss), "--data", data, *RUN, "--out", tmp_path / "out"), "loss")


@pytest.mark.parametrize(
    "spec",
    ["leaky_relu:1e308", "leaky_relu:-1e308", "elu:1e308", "softplus:1e308", "softplus:1e-320", "celu:0", "elu:-1",
     "leaky_relu:1e400", "leaky_relu:nan", pytest.param(f"leaky_relu:{DIGITS}", id="digits"), "relu:1", "a\0"],
)  # fmt: skip
def test_activations_that_no_network_has(
    probe: Probe, described: Callable[..., Path], data: Path, tmp_path: Path, spec: str
) -> None:
    one_line(lambda: parse_activation(spec), "`activation=")
    path = described(network={**make().spec.to_json(), "activation": spec})
    refused(probe("run", path, "--data", data, *RUN, "--out", tmp_path / "out"), "net.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"widths": [10**400, 3]}, {"widths": [6, 10**9, 8, 3]}, {"widths": [6.0, 8, 8, 3]},
        {"widths": ["6", "8", "8", "3"]}, {"widths": [True, 8, 8, 3]}, {"widths": "6883"}, {"widths": {"6": 1}},
        {"widths": []}, {"widths": [6] * 5000}, {"widths": None}, {"residual": "no"}, {"residual": 0},
        {"biases": [1, 1, 1]}, {"biases": "yes"}, {"biases": 3}, {"norm": 3}, {"norm": "x" * 5000},
        {"activation": 3}, {"activation": ["relu"]}, {"kind": ["perceptron"]}, {"more": 1},
    ],
)  # fmt: skip
def test_networks_that_are_none(change: dict[str, Any]) -> None:
    spec = make().spec.to_json()
    assert read_spec(json.loads(json.dumps(spec))) == make().spec
    one_line(lambda: read_spec({**spec, **change}))
    for name in spec:
        one_line(lambda: read_spec({key: value for key, value in spec.items() if key != name}))  # noqa: B023


@pytest.mark.parametrize("text", [NESTED, DIGITS, f'{{"a": {DIGITS}}}', "", "\xff"], ids=len)
def test_folders_that_say_what_they_are_in_no_json(
    probe: Probe, data: Path, tmp_path: Path, text: str
) -> None:
    train = ["train", "--data", data, "--depth", 2, "--width", 4, "--epochs", 1, "--batch-size", 20]
    train += ["--checkpoints", 2]
    for command, name, part in (
        (train, "training.json", "another training run"),
        (["figure1", "--data", data], "figure1.json", "another study"),
        (["report"], "run.json", "is damaged"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(text.encode("latin-1"))
        refused(probe(*command, *([] if command[0] == "report" else ["--out"]), folder), str(folder), part)
        assert [path.name for path in folder.iterdir() if path.name != ".lock"] == [name]


@pytest.mark.parametrize(
    "sizes", [(0, 4, 3), (5, 0, 3), (0, 2**32 - 1, 2**32 - 1), (2**32 - 1,) * 3, (2**31, 2, 2**31)]
)
def test_arrays_whose_sizes_overflow(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5)))
    one_line(lambda: load_data(f"mnist:{tmp_path}"), "train-images", "its header says")


def test_what_is_written_can_be_read(probe: Probe, data: Path, tmp_path: Path) -> None:
    """The same way, with nothing wrong."""
    network = make()
    details = {"network": network.spec.to_json(), "step": 2**52, "epoch": 0.5, "train_accuracy": None}
    write_checkpoint(tmp_path / "net.safetensors", network.state_dict(), {**details, "data": str(data)})
    result = probe("run", tmp_path / "net.safetensors", *RUN, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
