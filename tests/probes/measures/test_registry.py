"""Measures by name: each declares what it finds, a user's own joins them, and what cannot be used is one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from probes.errors import InputError
from probes.measures.registry import all_measures, chosen_measures
from probes.measures.settings import SliceSettings
from probes.slices.slice import evaluations_per_slice, measure_slice
from trust.measurements import ALL

ETAS = np.array([0.0, 0.01, 0.1])
OWN = """
import weakref

import numpy as np
from probes.measures.measure import Measure
from trust import measurements as variables
from trust.measurements import Variable

GREATEST = Variable("greatest_weight", ("checkpoint", "eta"), "max |W|", "weight", "largest weight")


class Greatest(Measure):
    name = "greatest"
    finds = (GREATEST,)

    def __init__(self, frozen):
        super().__init__(frozen)
        self.table = frozen.table()

    def record(self, point):
        self.table[point.row] = max(float(tensor.abs().max()) for tensor in point.moved.values())

    def tables(self):
        return [self.table]

    def found(self, others):
        return {GREATEST: self.table}


class Watching(Greatest):
    # the same of gradients: all of the last η's are gone when there are new ones

    gradients = True
    seen = []

    def record(self, point):
        assert not any(before() is not None for before in self.seen), "gradients of the last η are still held"
        gradients = point.evaluation.gradients.values()
        self.seen[:] = [weakref.ref(gradient) for gradient in gradients]
        self.table[point.row] = max(float(gradient.abs().max()) for gradient in gradients)


class Undeclared(Greatest):
    def found(self, others):
        return {variables.LOSS: self.table}


class Misshapen(Greatest):
    def found(self, others):
        return {GREATEST: np.zeros(7)}


class Twice(Greatest):
    name = "twice"


class Taken(Greatest):
    name = "taken"
    finds = (Variable("loss", ("checkpoint", "eta", "layer"), "another loss"),)

    def found(self, others):
        return {self.finds[0]: 0}


class Silent(Measure):
    name = "silent"
    finds = (GREATEST,)


class Nameless(Measure):
    finds = (GREATEST,)

    def found(self, others):
        return {}


class Chasing(Greatest):
    name = "chasing"
    finds = (Variable("a", ("checkpoint",), "a"),)
    uses = (Variable("b", ("checkpoint",), "b"),)


class Chased(Greatest):
    name = "chased"
    finds, uses = Chasing.uses, Chasing.finds


nothing = None
"""


DEFAULT = {
    "breakdown",
    "spectra",
    "split",
    "ladder",
    "curvature",
    "step-limit",
    "predicted-limit",
    "spot-check",
}


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return f"{path}:"


def settings(*measure: str, **options: object) -> SliceSettings:
    return SliceSettings(etas=ETAS, measure=measure, samples=5, **options)  # type: ignore[arg-type]


def measured(*measure: str, **options: object) -> xr.Dataset:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    return measure_slice(network, x, y, settings=settings(*measure, **options))


def test_measures_and_vocabulary_name_each_other() -> None:
    elsewhere = {"", "noise-floor", "adversarial"}  # taken in every run, and by the search for the path
    for name, measure in all_measures().items():
        assert measure.name == name
        assert all(ALL[variable].measure == name for variable in measure.finds), name
    for variable in ALL.values():
        if variable.measure not in elsewhere:
            assert variable in all_measures()[variable.measure].finds, variable


def test_everything_found_carries_its_name_and_units() -> None:
    found = measured("default", jacobian=2, spectra="slice")
    assert len(found.data_vars) > 40
    for name in [*found.data_vars, "eta", "is_weight", "kind", "operator"]:
        described = ALL[str(name)]
        assert found[name].dims == described.dims
        assert {k: found[name].attrs.get(k) for k in described.attributes} == described.attributes


def test_what_others_find_comes_first() -> None:
    names = [measure.name for measure in chosen_measures(settings("default"))]
    assert set(names) == DEFAULT
    assert names.index("step-limit") > max(names.index("breakdown"), names.index("curvature"))


@pytest.mark.parametrize("name", [*sorted(DEFAULT), "sensitivity"])
def test_each_alone_finds_what_it_finds_among_all(name: str) -> None:
    among = measured("default", jacobian=2)
    alone = measured(name, jacobian=2)
    own = set(all_measures()[name].finds) & set(among.variables)
    assert own
    for variable in own - {v for v in own if v.startswith("step_limit")}:
        np.testing.assert_array_equal(alone[variable].values, among[variable].values)
    if name == "step-limit":  # which without the grid begins from elsewhere, and ends within its 1 %
        np.testing.assert_allclose(alone["step_limit"], among["step_limit"], rtol=0.02)
    others = {v for v in ALL.values() if v.measure not in ("", name, "noise-floor")}
    assert not others & set(alone.variables)


@pytest.mark.parametrize(
    ("measure", "looks"),
    [(("breakdown",), 1), (("ladder",), 1), (("default",), 2), (("curvature",), 0)],
)
def test_progress_counts_what_is_done(measure: Sequence[str], looks: int) -> None:
    reported: list[int] = []
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    chosen = settings(*measure)
    data = torch.randn(12, 4), torch.arange(12) % 3
    measure_slice(network, *data, settings=chosen, progress=reported.append)
    assert sum(reported) == evaluations_per_slice(chosen) == looks * len(ETAS)


def test_a_measure_of_ones_own_joins_the_default_ones(own: str) -> None:
    found = measured("default", f"{own}Greatest")
    assert "gradient_change" in found
    assert found["greatest_weight"].dims == ("checkpoint", "eta")
    assert found["greatest_weight"].attrs == {"long_name": "largest weight", "units": "weight"}
    assert (found["greatest_weight"].values > 0).all()
    assert found.attrs["measures"].startswith("default ")


@pytest.mark.parametrize("direction", ["gradient", "adversarial"])
def test_gradients_are_let_go_of_before_there_are_new_ones(own: str, direction: str) -> None:
    found = measured(f"{own}Watching", direction=direction, ascent_steps=1, restarts=0)
    assert (found["greatest_weight"].values > 0).all()


def test_a_measure_of_ones_own_replaces_them(own: str) -> None:
    found = measured(f"{own}Greatest")
    assert set(found.data_vars) == {
        "greatest_weight",
        "noise_floor",
        "loss_noise_floor",
        "output_noise_floor",
    }


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("breakdwn",), "did you mean breakdown"),
        (("OWN:Absent",), "that is nothing"),
        (("OWN:nothing",), "not a class made from"),
        (("OWN:Variable",), "not a class made from"),
        (("OWN:Nameless",), "must say its name"),
        (("OWN:Silent",), "must have a method found"),
        (("OWN:Greatest", "OWN:Twice"), "both take greatest_weight"),
        (("OWN:Chasing", "OWN:Chased"), "each use what the other finds"),
        (("OWN:Undeclared",), "finds loss, which it does not declare"),
        (("OWN:Misshapen",), "shape (7,), but its dims are eta (3,)"),
        (("sensitivity",), "add `jacobian=N`"),
    ],
)
def test_what_cannot_be_used_is_one_line(own: str, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError) as caught:
        measured(*(name.replace("OWN:", own) for name in names))
    assert words in str(caught.value)


def test_a_named_measure_is_not_left_out_in_silence() -> None:
    with pytest.raises(InputError, match="step-limit'`: has no meaning"):
        measured("step-limit", direction="adversarial", ascent_steps=1, restarts=0)


def test_names_of_the_vocabulary_keep_their_dims(own: str) -> None:
    with pytest.raises(
        InputError, match="loss is in the vocabulary with the dims checkpoint, eta; name another"
    ):
        measured(f"{own}Taken")
