"""Coarser layers are used only where they are asked for, and the noise floor shows what they cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.wording import noise_line
from probes import InputError, SliceSettings, measure_slice
from probes.evaluation.frozen_state import probing

ETAS = np.array([0.0, 1e-3, 0.1])


class Network(nn.Module):
    """It tells in which precision its layer's products come out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 3)
        self.seen: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.seen.add(h.dtype)
        return self.last(torch.tanh(h))  # type: ignore[no-any-return]


def measured(network: nn.Module, **options: Any) -> Any:
    torch.manual_seed(1)
    x, y = torch.randn(60, 8), torch.randint(0, 3, (60,))
    settings = {"etas": ETAS, "limit": False, "curvature": None, "ladder": False, **options}
    return measure_slice(network, x, y, settings=SliceSettings(**settings))


def test_bfloat16_is_seen_in_the_noise_floor() -> None:
    full, coarse = Network(), Network()
    found, other = measured(full), measured(coarse, precision="bfloat16")
    assert full.seen == {torch.float32, torch.float64}  # float64 for the noise floor alone
    assert coarse.seen >= {torch.bfloat16, torch.float64}
    # rounding at 2^-24 and 2^-9 a product, some hundred of them
    assert float(found["noise_floor"].max()) < 100 * 2**-24
    assert 2**-12 < float(other["noise_floor"].max()) < 10 * 2**-9
    assert other.attrs["precision"] == "bfloat16"
    assert "layers in bfloat16" in noise_line(other)
    assert "layers" not in noise_line(found)
    # far above its floor the coarse measurement is the fine one's
    last = {"eta": -1, "checkpoint": 0}
    a, b = found["gradient_change"].isel(last), other["gradient_change"].isel(last)
    np.testing.assert_allclose(b, a, atol=10 * float(other["noise_floor"].max()))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"precision": "tf32"}, "NVIDIA"),
        ({"precision": "bfloat16", "dtype": "float64"}, "float32"),
        ({"precision": "float8"}, "known are full, tf32, bfloat16"),
    ],
)
def test_precisions_that_cannot_be_had_are_refused(options: dict[str, str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        SliceSettings(etas=ETAS, **options)  # type: ignore[arg-type]


def test_tf32_is_off_unless_asked_for_and_put_back() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    with probing(Network()):
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (False, False)
    with probing(Network(), precision="tf32"):
        assert (cudnn.allow_tf32, matmul.allow_tf32) == (True, True)
    assert (cudnn.allow_tf32, matmul.allow_tf32) == before
