"""What the monitor's cost is told of."""

from __future__ import annotations

from benchmarks import measure, monitor, report


def test_both_trainings_are_timed_and_what_the_monitor_told_stands_beside() -> None:
    found = monitor.compare(2, widths=(784, 8, 10), steps=5)
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {
        "training alone": 2,
        "with the monitor": 2,
    }
    (compared,) = found["compared"]
    ours, alone = found["seconds"]["with the monitor"], found["seconds"]["training alone"]
    assert compared["smallest"] == min(one / other for one, other in zip(ours, alone, strict=True))
    assert found["told"]["records of updates"] >= [1.0, 1.0]
    text = report.section(measure.described("monitor", [found]), markdown=False)
    assert "784–8–10, 5 steps of 250: cost by its own clock" in text
    assert "with the monitor" in text
