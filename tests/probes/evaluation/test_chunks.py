"""Memory that runs out: recognised, and answered by starting again with half as many examples at once."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from probes import InputError
from probes.errors import is_out_of_memory
from probes.evaluation.chunks import default_chunk, halving

CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


def test_a_real_failure_of_the_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as denied:
        np.empty(10**15)
    assert is_out_of_memory(denied.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 36.00 MiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError(CPU), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x5 and 6x7)"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False),
        (InputError("out of memory with one example at once"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def gradient(data: Tensor, weight: Tensor, chunk: int, most: int, tried: list[int]) -> Tensor:
    """The gradient of Σ (w·x)², chunk by chunk; memory ends in the second of chunks that are too large."""
    tried.append(chunk)
    leaf = weight.detach().requires_grad_(True)
    for place, piece in enumerate(data.split(chunk)):
        if place == 1 and chunk > most:
            raise RuntimeError(CPU)
        (piece @ leaf).square().sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return leaf.grad


def test_it_starts_again_from_the_beginning() -> None:
    data, weight = torch.randn(100, 3).double(), torch.randn(3).double()
    tried: list[int] = []
    said: list[str] = []
    found, chunk = halving(lambda chunk: gradient(data, weight, chunk, 10, tried), 64, report=said.append)
    assert (tried, chunk) == ([64, 32, 16, 8], 8)
    torch.testing.assert_close(found, 2 * data.T @ (data @ weight))  # the failed ones left nothing behind
    assert said[0] == "out of memory with chunks of 64 examples; going on with 32"
    assert len(said) == 3


def test_what_the_failed_call_held_is_free_when_the_next_begins() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def run(chunk: int) -> int:
        assert all(reference() is None for reference in alive)
        tensor = torch.ones(chunk)
        alive.append(weakref.ref(tensor))
        if chunk > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return chunk

    assert halving(run, 8, report=lambda _: None) == (1, 1)
    assert len(alive) == 4


def test_it_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    halving(lambda chunk: gradient(torch.ones(9, 2), torch.ones(2), chunk, 600, []), 1000)
    assert capsys.readouterr().err == ""
    halving(lambda chunk: gradient(torch.ones(900, 2), torch.ones(2), chunk, 400, []), 800)
    captured = capsys.readouterr()
    assert captured.err == "probe: out of memory with chunks of 800 examples; going on with 400\n"
    assert captured.out == ""


def test_no_memory_at_all_is_one_line() -> None:
    def run(chunk: int) -> None:
        raise MemoryError

    with pytest.raises(InputError, match="with one example at once; take a machine"):
        halving(run, 100, report=lambda _: None)
    tried: list[str] = []
    with pytest.raises(InputError, match="with the 60 examples that belong together at once"):
        halving(run, 60, smallest=60, report=tried.append)
    assert tried == []


def test_other_errors_pass() -> None:
    def run(chunk: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(run, 100)


def test_the_default_is_a_thousand_or_all_that_belong_together() -> None:
    assert [default_chunk(count, together=False) for count in (1, 60, 1000, 60_000)] == [1, 60, 1000, 1000]
    # one example has no batch statistics: the slice says so, and that two would
    assert [default_chunk(count, together=True) for count in (1, 60, 60_000)] == [2, 60, 60_000]
