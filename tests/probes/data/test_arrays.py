"""Which dtypes arrays keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probes.data.loaders import read_batches
from tests.probes.data.examples import X, Y


def test_dtypes_stay_where_they_mean_something() -> None:
    def dtype_of(value: Any) -> torch.dtype:
        inputs = read_batches((value, Y), "--data mine")[0].pieces[0].inputs
        assert isinstance(inputs, Tensor)
        return inputs.dtype

    for dtype in (torch.int32, torch.int64, torch.float32, torch.float64):
        assert dtype_of(X.to(dtype)) == dtype
    for dtype in (torch.uint8, torch.bool, torch.int16, torch.float16, torch.bfloat16):
        assert dtype_of(X.to(dtype)) == torch.float32
    beside = {
        "a": X > 0,
        "b": X.to(torch.uint8),
        "c": X.to(torch.int16),
        "d": X.half(),
        "y": Y.to(torch.uint8),
    }
    batch = read_batches(beside, "--data mine")[0].pieces[0]
    found = {name: tensor.dtype for name, tensor in batch.leaves()}
    assert list(found.values()) == [torch.bool, torch.uint8, torch.int64, torch.float32, torch.int64]
