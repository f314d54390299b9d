"""The Jacobians' and gates' change along a slice, for a few examples."""

from __future__ import annotations

from probes.errors import InputError
from probes.measures.jacobians import Jacobians, gate_change, relative_change
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["Sensitivity"]


class Sensitivity(Measure):
    """Measures both for the first ``--jacobian N`` examples; beyond those that are kept they are NaN."""

    name = "sensitivity"
    finds = (variables.JACOBIAN_CHANGE, variables.GATE_CHANGE)

    def __init__(self, frozen: Frozen) -> None:
        """Measure what belongs to the frozen weights.

        Raises:
            InputError: no number of examples was given.
        """
        super().__init__(frozen)
        self.count = min(frozen.settings.jacobian, len(frozen.evaluator))
        if self.count < 1:
            raise InputError("`measure='sensitivity'`: on how many examples? add `jacobian=N`")
        self.jacobians = Jacobians(
            frozen.evaluator, samples=self.count, weights=frozen.weights, reading=frozen.reading
        )
        structure = self.jacobians.structure
        self.activations = {} if structure is None else structure.activations
        self.before = self.jacobians.measure(frozen.evaluator.frozen)
        self.jacobian_change, self.gate_change = (
            frozen.table(len(frozen.names), frozen.samples) for _ in range(2)
        )

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """With ``--jacobian N``."""
        return settings.jacobian > 0

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """Where there are outputs."""
        return frozen.evaluator.has_outputs

    def record(self, point: Point) -> None:
        """Measure at one η."""
        after, row, names = self.jacobians.measure(point.moved), point.row, self.frozen.names
        for k, name in enumerate(names):
            if name in self.before.jacobians and name in after.jacobians:
                change = relative_change(self.before.jacobians[name], after.jacobians[name])
                self.jacobian_change[row, k, : self.count] = change.cpu().numpy()
            if name in self.before.gates:
                change = gate_change(self.before.gates[name], after.gates[name])
                self.gate_change[row, k, : self.count] = change.cpu().numpy()
            if self.activations.get(name) == "identity":
                self.gate_change[row, k, : self.count] = 0.0

    def tables(self) -> list[Floats]:
        """Both."""
        return [self.jacobian_change, self.gate_change]

    def found(self, others: Found) -> Found:
        """The Jacobians' change and, where the network's structure is known, the gates'."""
        found = {variables.JACOBIAN_CHANGE: self.jacobian_change}
        return found | ({variables.GATE_CHANGE: self.gate_change} if self.activations else {})
