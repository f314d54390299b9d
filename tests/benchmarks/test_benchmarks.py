"""Benchmarks compare the same numbers, say how fast nothing but the products would be, and can be shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import (
    cases,
    curvature,
    gradients,
    jacobians,
    ladder,
    limits,
    loss_curves,
    measure,
    peers,
    processes,
    report,
    scaling,
    slices,
)
from benchmarks.cases import Case
from benchmarks.roofline import Pieces, Products, counted, roofline
from benchmarks.sameness import DifferentNumbersError, same
from benchmarks.textbook import TextbookSlice, first_layer_loop, full_loop
from benchmarks.timing import Pair, alternate


def data(count: int = 24, features: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, features, generator=generator)
    return x, torch.arange(count) % 3


def tiny(kind: str = "perceptron") -> Case:
    if kind == "transformer":
        return replace(cases.char_transformer(3, context=4, width=8, points=3), chunk=2)
    x, y = data()
    made = cases.conv_net(x, y, channels=(2, 3), points=3)
    if kind == "perceptron":
        made = cases.perceptron(3, x, y, width=8, points=3)
    return replace(made, chunk=10)  # the last of three chunks is shorter


def test_same_numbers_pass_and_others_do_not() -> None:
    assert same("x", [[3.0, 4.0]], [[3.0, 4.0004]], tolerance=1e-3)["error"] == pytest.approx(1e-4, rel=1e-3)
    assert same("x", [[1e-3]], [[2e-3]], tolerance=1e-2, least=1.0)["error"] == pytest.approx(1e-3)
    # a large row does not hide what is wrong in a small one
    wrong: list[tuple[Any, Any]] = [
        ([[1e-3], [1e3]], [[2e-3], [1e3]]),
        ([1.0, 2.0], [1.0]),
        ([np.nan], [np.nan]),
        ([], []),
    ]
    for ours, theirs in wrong:
        with pytest.raises(DifferentNumbersError, match="x: "):
            same("x", ours, theirs, tolerance=1e-2)


def test_ratios_are_taken_turn_by_turn() -> None:
    compared = Pair("ours", "peer", 0.5).compared({"ours": [1.0, 4.0, 3.0], "peer": [2.0, 4.0, 1.0]})
    assert compared == {
        "of": "ours",
        "to": "peer",
        "median": 1.0,
        "smallest": 0.5,
        "largest": 3.0,
        "target": 0.5,
    }


def test_alternatives_take_turns() -> None:
    ran: list[str] = []
    found = alternate({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, baseline="a", repeats=2)
    assert "".join(ran) == "ababab"
    assert [len(times) for times in found["seconds"].values()] == [2, 2]
    assert list(found["ratio"]) == ["b"]


def test_the_products_are_those_of_the_textbook_loop() -> None:
    x, y = data()
    network, etas = cases.perceptron(3, x, y, width=8).network, [0.0, 0.1, 0.2, 0.3]
    products = Products((16, 8, 8, 3), 24, 10)
    every = counted(products.evaluation)[1]
    first = counted(lambda: products.evaluation(first_only=True))[1]
    forward = counted(products.first_forward)[1]
    loop = counted(lambda: full_loop(network, x, y, etas, cases.cross_entropy))[1]
    first_loop = counted(lambda: first_layer_loop(network, x, y, etas, cases.cross_entropy))[1]
    assert loop == 4 * (every + forward)
    assert first_loop == every + 3 * first + 4 * forward
    # closed forms: 2 n d d' a product, forward and backward
    assert forward == 2 * 24 * 16 * 8
    assert every == 2 * 24 * (16 * 8 + 3 * (8 * 8 + 8 * 3))
    assert first == 2 * 24 * (16 * 8 + 2 * (8 * 8 + 8 * 3))


def test_the_products_compute_what_their_names_say() -> None:
    products = Products((5, 4, 3), 7, 3)
    before, delta = products.hidden[1].clone(), products.deltas[2].clone()
    products.evaluation()
    (w1, w2), size = products.weights, products.sizes[-1]
    assert products.sizes == [3, 3, 1]
    torch.testing.assert_close(products.hidden[2], before @ w2.T)
    torch.testing.assert_close(products.deltas[1], delta @ w2)
    torch.testing.assert_close(products.gradients[1], delta[:size].T @ before[:size])
    torch.testing.assert_close(products.gradients[0], products.deltas[1][:size].T @ products.hidden[0][:size])
    products.first_forward()
    torch.testing.assert_close(products.hidden[1], products.hidden[0] @ w1.T)


def test_the_bound_is_made_of_its_pieces() -> None:
    slow, fast = (Pieces((5, 4, 3), 6, chunk) for chunk in (2, 6))
    seconds: dict[str, list[float]] = {"ours": [4.0, 4.0], "loop": [2.0, 1.0]}
    for pieces, unit in ((slow, 9.0), (fast, 1.0)):
        for name, piece in zip(pieces.alternatives(), pieces.pieces.values(), strict=True):
            each = {"all layers": 0.1, "first layer": 0.01, "first forward": 0.001}
            part = next(cost for kind, cost in each.items() if kind in name)
            seconds[name] = [unit * part * piece.times] * 2
    every = fast.pieces["all layers"].flops
    found = roofline(
        [slow, fast],
        seconds,
        etas=3,
        slices={"ours": "first layer"},
        peers={"ours": "loop"},
        flops={"ours": every},
    )
    assert found["chunk"] == 6
    assert found["rate"]["median"] == pytest.approx(every / 0.1)
    # the direction at 0 needs all layers, two other η the first alone, all three two products of the first
    assert found["bounds"]["ours"]["seconds"] == pytest.approx([0.1 + 2 * 0.01 + 2 * 0.001] * 2)
    assert found["bounds"]["ours"]["smallest"] == pytest.approx(0.122 / 2)
    assert found["share"]["ours"]["median"] == pytest.approx(0.1 / 4)
    assert fast.least(seconds, 3)["all layers"] == pytest.approx([3 * 0.1 + 2 * 0.001] * 2)


@pytest.mark.parametrize("kind", ["perceptron", "conv", "transformer"])
def test_slices_are_the_textbook_loops_and_leave_the_network_alone(kind: str) -> None:
    case = tiny(kind)
    before = {name: tensor.clone() for name, tensor in case.network.state_dict().items()}
    found = slices.compare(case, 2)
    assert all(torch.equal(before[name], tensor) for name, tensor in case.network.state_dict().items())
    assert all(len(times) == 2 for times in found["seconds"].values())
    assert all(known["error"] < 1e-4 for known in found["same"])
    expected = ["textbook loop", "probes"]
    if kind == "perceptron":
        expected += ["textbook loop, first layer", "probes, first layer"]
        bounds = found["roofline"]["bounds"]
        assert bounds["probes"]["flops"] < found["flops"]["textbook loop"] < found["flops"]["probes"]
        assert bounds["probes, first layer"]["flops"] < found["flops"]["textbook loop, first layer"]
        assert set(found["roofline"]["share"]) == set(expected)
        expected += ["probes, loss and breakdown alone", "probes, all that a run measures by default"]
    assert list(found["seconds"]) == expected


def test_a_benchmark_of_different_things_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*arguments: Any) -> TextbookSlice:
        right = full_loop(*arguments)
        return TextbookSlice(right.change * 1.01, right.loss)

    monkeypatch.setattr(slices, "full_loop", other)
    with pytest.raises(DifferentNumbersError, match="relative gradient difference"):
        slices.compare(tiny(), 1)


@pytest.mark.parametrize("kind", ["perceptron", "conv", "transformer"])
def test_jacobian_changes_are_those_of_jacrev(kind: str) -> None:
    case = tiny(kind)
    found = jacobians.compare(case, 1, samples=2)
    assert all(known["error"] < 1e-4 for known in found["same"])
    assert len(found["seconds"]) == 3
    assert len(found["compared"]) == 2


def test_jacobians_of_an_unknown_network_are_refused() -> None:
    with pytest.raises(TypeError, match="Linear"):
        jacobians.places_of(nn.Linear(2, 2))


@pytest.mark.parametrize("kind", ["perceptron", "conv", "transformer"])
def test_curvlinops_has_the_same_gradients(kind: str) -> None:
    pytest.importorskip("curvlinops")
    found = gradients.compare(tiny(kind), 1)
    assert set(found["seconds"]) == {"probes", "curvlinops"}
    assert len(found["same"]) == 2


@pytest.mark.parametrize("kind", ["perceptron", "conv", "transformer"])
def test_eigenvalues_are_those_of_curvlinops_where_it_is_there(kind: str) -> None:
    """Its Hessian of layer norms is no Hessian, with this PyTorch; the Gauss-Newton matrix is one."""
    found = curvature.compare(tiny(kind), "GGN" if kind == "transformer" else "Hessian", 1)
    both = peers.peer(peers.CURVLINOPS) is not None
    assert len(found["seconds"]) == 2 + both
    assert len(found["same"]) == 2 * both
    assert all(found["residuals"][name] <= 1e-4 for name in found["counts"] if name.startswith("probes"))
    text = report.section(measure.described("curvature", [found]), markdown=False)
    assert "products, residual" in text


@pytest.mark.parametrize("kind", ["perceptron", "conv", "transformer"])
def test_loss_landscapes_has_the_same_losses(kind: str) -> None:
    pytest.importorskip("loss_landscapes")
    case = tiny(kind)
    found = loss_curves.compare(case, 1, points=3)
    assert set(found["seconds"]) == {"probes", "loss-landscapes"}
    assert all(parameter.requires_grad for parameter in case.network.parameters())


@pytest.mark.parametrize("kind", ["perceptron", "conv", "transformer"])
def test_a_golden_section_search_finds_the_same_limit(kind: str) -> None:
    found = limits.compare(tiny(kind), 1)
    ours, golden = found["counts"]["probes"], found["counts"]["golden-section search"]
    assert ours["losses"] < golden["losses"]
    assert found["counts"]["probes, the prediction with it"]["gradients"] == 2
    assert found["compared"][0]["target"] == 0.5
    text = report.section(measure.described("limits", [found]), markdown=False)
    assert f"{golden['losses']} losses" in text


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(package: str) -> str:
        raise peers.PackageNotFoundError(package)

    monkeypatch.setattr(peers, "version", unknown)
    found = gradients.compare(tiny(), 1)
    assert found["not_installed"] == [peers.CURVLINOPS]
    assert found["compared"] == []
    curve = loss_curves.compare(tiny(), 1, points=2)
    assert curve["not_installed"] == [peers.LOSS_LANDSCAPES]
    assert set(peers.peers_versions().values()) == {peers.NOT_INSTALLED}
    text = report.section(measure.described("gradients", [found]), markdown=False)
    assert f"Not installed, so not compared with: {peers.CURVLINOPS}" in text


def test_the_ladders_cost_is_compared_with_the_slice() -> None:
    found = ladder.compare(tiny(), 1)
    assert [compared["of"] for compared in found["compared"]] == ["slice, spectra and ladder"]


def test_what_is_measured_is_written_shown_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def small(repeats: int) -> list[dict[str, Any]]:
        """Two small cases."""
        return [slices.compare(tiny(), repeats), slices.compare(tiny("conv"), repeats)]

    monkeypatch.setattr(measure, "BENCHMARKS", {"small": small})
    measure.main(["all", "--repeats", "2", "--out", str(tmp_path / "found")])
    path = tmp_path / "found" / "small.json"
    content = json.loads(path.read_text("utf-8"))
    assert content["what"] == "Two small cases."
    assert content["machine"]["threads"] == torch.get_num_threads()
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    for _ in range(2):  # a second time gives the same page
        report.main([str(path), "--plot", str(tmp_path / "small.png"), "--markdown", str(page)])
        text = page.read_text("utf-8")
    assert text.startswith("# Before\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert text.count("### small") == 1
    assert "| --- |" in text
    shown = capsys.readouterr().out
    for word in ("probes, first layer", "least possible", "by count", "share of the product rate", "1e-03"):
        assert word in shown
        assert word in text
    assert (tmp_path / "small.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "small.csv").read_text("utf-8").splitlines()) == 1 + 2 * (6 + 2)


def test_the_report_reads_timings_without_cases_and_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    timed = alternate({"one process": lambda: None, "two": lambda: None}, baseline="one process", repeats=1)
    timed["ratio"]["two"] = {"median": 0.5, "smallest": 0.4, "largest": 0.6}
    rows = report.times_table(timed)
    assert rows[2][-3:] == ["one process", "0.500", "0.400 to 0.600"]
    for page in (
        "no marks",
        f"{report.BEGIN} only",
        f"{report.END}{report.BEGIN}",
        report.BEGIN * 2 + report.END,
    ):
        with pytest.raises(SystemExit, match="--markdown"):
            report.insert(page, "text")
    path = tmp_path / "timed.json"
    path.write_text(json.dumps({**timed, "benchmark": "b", "cases": []}), "utf-8")
    with pytest.raises(SystemExit):
        report.main([str(path), str(path), "--plot", str(tmp_path / "x.png")])


def test_growth_is_the_slope_on_log_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [2, 4, 8, 16, 32]
    assert scaling.exponent(values, [3.0 * v**1.5 for v in values]) == pytest.approx(1.5)
    # of the four largest alone: what does not grow hides behind them
    assert scaling.exponent(values, [1e9, *[v**2.0 for v in values[1:]]]) == pytest.approx(2.0)
    small = scaling.Sweep(scaling.Size(width=8, depth=2, examples=20, etas=3), (2, 3), 2)
    monkeypatch.setattr(scaling, "SWEEPS", dict.fromkeys(scaling.SWEEPS, small))
    found = [scaling.sweep(axis, 2) for axis in scaling.SWEEPS]
    for one in found:
        assert one["values"] == [2, 3]
        assert [len(times) for times in one["seconds"]["slice"]] == [2, 2]
        assert len(one["seconds"]["all by default"]) == 1  # up to the largest that was planned
    # one gradient more for the noise floor and one of a sample, and all of one row's size: no more than in proportion
    assert found[2]["exponents"]["operations"] == pytest.approx(1.0, abs=0.2)
    assert len(scaling.draw({"cases": found}).axes) == 4


def test_what_processes_repeat_and_send_is_told_apart() -> None:
    """10 s of work of which 1 is repeated, sums of 2 messages of 1 ms and 4 ms for all gradients."""
    sums = {"nothing": 0.002, "gradients": 0.002 + 0.004}
    found = processes.modelled(10.0, 1.0 + 9.0 / 2, 2, sums, sums_needed=5)
    assert found["repeated"] == pytest.approx(0.1)
    assert found["ratio"]["1"] == pytest.approx(1.0)
    # 1 + 9/8 and five times 14 messages of 1 ms and an eighth of 4 ms
    assert found["ratio"]["8"] == pytest.approx((1 + 9 / 8 + 5 * 14 * (0.001 + 0.004 / 8)) / 10)
    assert found["ratio"]["2"] > 0.55
