"""Where memory runs out in a chunk, chunks are halved, it is said, and the numbers are those of smaller chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import probes.cli.main
from probes import InputError, SliceSettings, measure_slice
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator

ETAS = np.array([0.0, 1e-3, 0.1])


class Hungry(nn.Module):
    """A network whose memory holds so many examples, and whose backward pass may want less room."""

    def __init__(self, room: int, *, backward: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        self.room, self.backward = room, backward

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room and not (self.backward and torch.is_grad_enabled()):
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
            )
        outputs: Tensor = self.layers(x)
        if self.backward and outputs.requires_grad:

            def fail(gradient: Tensor) -> Tensor:
                if len(gradient) > self.room:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
                return gradient

            outputs.grad_fn.next_functions[1][0].register_prehook(lambda given: (fail(given[0]), *given[1:]))  # type: ignore[union-attr]
        return outputs


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(50, 4), torch.randint(0, 3, (50,))


def measured(network: nn.Module, **options: Any) -> Any:
    settings = {"etas": ETAS, "dtype": "float64", "samples": 4, "ladder": False, **options}
    return measure_slice(network, *data(), settings=SliceSettings(**settings)).isel(checkpoint=0)


@pytest.mark.parametrize("backward", [False, True])
def test_chunks_are_halved_until_they_fit(backward: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(Hungry(15, backward=backward), chunk=40)
    expected = measured(Hungry(1000), chunk=10)
    said = [line for line in capsys.readouterr().err.splitlines() if "memory" in line]
    assert said[:2] == [
        "probe: out of memory with chunks of 40 examples; going on with 20",
        "probe: out of memory with chunks of 20 examples; going on with 10",
    ]
    assert found.attrs["chunk"] == 10
    for name in (
        *("loss", "gradient_change", "gradient_norm", "output_change", "step_limit", "curvature"),
        *("residual_change", "sample_residual_factor"),
    ):
        np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=name)


def test_one_example_that_does_not_fit_is_an_error() -> None:
    evaluator = Evaluator(Hungry(0), *data(), LOSSES["cross-entropy"], chunk=8)
    with pytest.raises(InputError, match="one example"):
        evaluator.evaluate(evaluator.frozen)


def test_examples_that_belong_together_are_not_parted() -> None:
    network = Hungry(15)
    evaluator = Evaluator(network, *data(), LOSSES["cross-entropy"], chunk=50, divisible=False)
    with pytest.raises(InputError, match="50 examples that belong together"):
        evaluator.evaluate(evaluator.frozen)


def test_other_errors_are_left_alone() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    evaluator = Evaluator(Broken(), *data(), LOSSES["cross-entropy"])
    with pytest.raises(RuntimeError, match="shapes"):
        evaluator.evaluate(evaluator.frozen)


def test_a_command_that_runs_out_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    def fail(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20.00 MiB")

    monkeypatch.setattr("probes.checkpoints.distance.distance", fail)
    result = CliRunner().invoke(probes.cli.main.main, ["distance", "a", "b"])
    assert result.exit_code == 2
    assert result.stderr.strip() == "probe: OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB"
