"""Quantities are found once where that is asked for, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from trust.claims.remembering import once, remembering


def data(value: float) -> xr.Dataset:
    return xr.Dataset({"x": ("checkpoint", np.array([value]))})


def counted() -> tuple[list[float], Callable[..., float]]:
    asked: list[float] = []

    def quantity(measurements: xr.Dataset, *, factor: float = 1.0) -> float:
        asked.append(float(measurements["x"][0]))
        return factor * asked[-1]

    return asked, quantity


def test_only_while_it_is_open_and_for_each_dataset_and_option_by_itself() -> None:
    asked, quantity = counted()
    one, other = data(1.0), data(2.0)
    with remembering():
        assert [once(quantity)(one), once(quantity)(one), once(quantity)(other)] == [1.0, 1.0, 2.0]
        with remembering():
            assert once(quantity)(one) == 1.0
        assert once(quantity)(one, factor=3.0) == 3.0
    assert asked == [1.0, 2.0, 1.0]
    one["x"][0] = 5.0  # now it may be changed
    assert once(quantity)(one) == 5.0
    assert once(quantity)(one) == 5.0
    assert asked == [1.0, 2.0, 1.0, 5.0, 5.0]


def test_datasets_that_come_and_go_are_never_taken_for_each_other() -> None:
    _, quantity = counted()
    with remembering():
        found = [once(quantity)(data(float(k))) for k in range(50)]
    assert found == [float(k) for k in range(50)]


def test_it_ends_with_an_error_too() -> None:
    asked, quantity = counted()
    one = data(1.0)

    def broken(measurements: xr.Dataset) -> float:
        return once(quantity)(measurements) / 0.0

    with pytest.raises(ZeroDivisionError), remembering():
        broken(one)
    once(quantity)(one)
    assert asked == [1.0, 1.0]
