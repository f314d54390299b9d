"""Bounds on the change of a piecewise linear network's output that know which units are active, example by example.

The network is a chain h_k = ι_k h_{k−1} + φ_k(z_k), z_k = W_k h_{k−1} + b_k, with φ_k(z) = max(z, a_k z): ReLU (a =
0), leaky ReLU (0 < a < 1) or the identity (a = 1); ι_k is 1 in a residual block and 0 in a plain layer. A tilde marks
what belongs to the perturbed weights. u_k = ΔW_k h_{k−1} + Δb_k is what the perturbation does to layer k's argument at
the unperturbed input of that layer, so that with δ_k = h̃_k − h_k

    z̃_k − z_k = W̃_k δ_{k−1} + u_k.                                                                              (1)

**The theorem** (`pattern_bound`), for a plain layer. Let e_0 = 0, S_0 all inputs, and let w̃_i[S] be row i of W̃_k with
the columns in S_{k−1}. No unit's argument grows by more than s_i = u_i + ‖w̃_i[S]‖ e_{k−1}. Let D_k be diagonal with

    1 where z_i ≥ 0;   a + (1 − a)(1 − |z_i|/s_i) where −s_i < z_i < 0;   a elsewhere,

and S_k the units with D_ii > 0: all of them unless φ_k is ReLU, and then those that are or may become active.
Then, for

    e_k = ‖D_k W̃_k[:, S_{k−1}]‖₂ e_{k−1} + ‖D_k u_k‖₂,

δ_k is 0 outside S_k and ‖δ_k‖ ≤ e_k; in particular ‖f̃(x) − f(x)‖ ≤ e_L.

*Proof.* By induction on k. As δ_{k−1} is 0 outside S_{k−1} and no longer than e_{k−1}, (1) and Cauchy–Schwarz
give ε_i := z̃_i − z_i ≤ s_i. Now |φ(z + ε) − φ(z)| ≤ D_ii |ε| for every such ε: φ's slopes are a and 1, which
settles z ≥ 0; for z < 0 the left side is a|ε| while z + ε ≤ 0, and beyond that it is a convex function of ε, 0 at
0, so on [0, s_i] it lies below its chord, whose slope is [a|z| + (s_i − |z|)]/s_i = D_ii. Hence |δ_k| ≤ D_k |W̃_k
δ_{k−1} + u_k| entry by entry: it is 0 where D_ii = 0, and its norm is at most ‖D_k W̃_k[:, S_{k−1}]‖ ‖δ_{k−1}‖ +
‖D_k u_k‖. ∎

**A residual block.** Let D_k be as above, and E_k diagonal with

    a where z_i ≤ 0;   a + (1 − a) z_i/s'_i where 0 < z_i < s'_i;   1 elsewhere,

s'_i = −u_i + ‖w̃_i[S]‖ e_{k−1} how far the argument can fall, and M, R = (D ± E)/2. Then S_k is S_{k−1} and all units
with D_ii > 0, and

    e_k = min(‖I + M W̃_k[:, S_{k−1}]‖₂ + ‖R W̃_k[:, S_{k−1}]‖₂, 1 + ‖W̃_k‖₂) e_{k−1} + ‖D_k u_k‖₂.

*Proof.* φ(z + ε) − φ(z) = Λε with φ's mean slope Λ between both, which is at most D_ii as above, and at least E_ii: for
z > 0 it is 1 while z + ε ≥ 0, and beyond that [z − a(z + ε)]/(−ε) = a + (1 − a) z/|ε|, which falls with |ε| ≤ s'_i.
So δ_k = (I + ΛW̃_k)δ_{k−1} + Λu_k, and Λ = M + Λ' with |Λ'| ≤ R. ∎ It is THEORY's certified gates for
``residual-telescoped``, which it is never above.

A plain chain's is never above the telescoped bound with its own norms: ‖D_k W̃_k[:, S]‖ ≤ ‖W̃_k‖ and ‖D_k u_k‖ ≤ ‖ΔW_k
h_{k−1}‖ + ‖Δb_k‖. With D_k = 1 on S_k it is THEORY's form, which it improves: a unit far from its kink can move
by a part of its argument only.

**Rounding.** The theorem speaks of real numbers, and what is returned is at least e_L: every error is added to
the side where it can only raise the bound. Forward passes are floats ĥ, ẑ with proved ‖h_k − ĥ_k‖ ≤ c_k and |z_k
− ẑ_k| ≤ ζ_k (`FrozenChain`): an inner product of n terms errs by at most γ_n |w|ᵀ|h| ≤ γ_n ‖w‖ ‖h‖, and what went
before passes through the layer's norm. z_i is replaced by its upper end ẑ_i + ζ_i, u_i by û_i + υ_i, where υ_i
covers the rounding of W̃ − W, of its product with ĥ and of ĥ itself; both in proportion to ΔW, so that tiny
perturbations keep their accuracy. Singular values are proved upper bounds (`trust.rounding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trust.norms import EPS, Array, Numbers, finite_array
from trust.rounding import gamma, norm_bound, raised, spectral_norm_bound

__all__ = ["FrozenChain", "Perturbed", "Stage", "pattern_bound"]


@dataclass(frozen=True)
class Stage:
    """One layer of a chain: φ(Wh + b), or the residual block h + φ(Wh + b), with φ(z) = max(z, az).

    Attributes:
        weight: W, (d_k, d_{k−1}).
        bias: b, (d_k,).
        slope: a of φ: 0 for ReLU, 1 for the identity, between them for leaky ReLU.
        skip: ι: whether its input is added to what comes out.
    """

    weight: Array
    bias: Array
    slope: float
    skip: bool = False

    @classmethod
    def of(cls, weight: Numbers, bias: Numbers | None = None, *, slope: float, skip: bool = False) -> Stage:
        """A stage of any numbers; no bias is one of zeros.

        Raises:
            ValueError: NaN or infinite entries, shapes that do not fit, or a slope outside [0, 1].
        """
        W = finite_array(weight, name="weight")
        if W.ndim != 2:
            raise ValueError(f"weight needs two axes, got shape {W.shape}")
        b = np.zeros(len(W)) if bias is None else finite_array(bias, name="bias")
        if b.shape != (len(W),):
            raise ValueError(f"bias has shape {b.shape}, expected {(len(W),)}")
        if not 0 <= slope <= 1:
            raise ValueError(f"slope {slope:g}: must be between 0 (ReLU) and 1 (identity)")
        if skip and W.shape[0] != W.shape[1]:
            raise ValueError(f"a residual block's weight must be square, got shape {W.shape}")
        return cls(W, b, float(slope), skip)

    def outputs(self, h: Array) -> tuple[Array, Array]:
        """Z and what the stage makes of it, in floats, both (examples, d_k).

        Args:
            h: its inputs (examples, d_{k−1}).
        """
        z = h @ self.weight.T + self.bias
        moved = np.where(z > 0, z, self.slope * z)
        return z, h + moved if self.skip else moved

    @cached_property
    def row_norms(self) -> Array:
        """‖w_i‖ from above, (d_k,)."""
        return norm_bound(self.weight)

    @cached_property
    def squares(self) -> Array:
        """W², entry by entry and transposed: for norms of rows over some of the columns."""
        return np.ascontiguousarray(np.square(self.weight).T)

    @cached_property
    def magnitudes(self) -> Array:
        """|W|, entry by entry and transposed."""
        return np.ascontiguousarray(np.abs(self.weight).T)

    @cached_property
    def norm(self) -> float:
        """‖W‖₂ from above."""
        return spectral_norm_bound(self.weight)

    def rows_over(self, columns: Array) -> Array:
        """‖w_i[S]‖ from above, (examples, d_k), for each example's S as 0 and 1 (examples, d_{k−1})."""
        return raised(np.sqrt(columns @ self.squares), self.weight.shape[1] + 3)

    def rows_over_gates(self, gates: Array) -> Array:
        """‖ΦW‖_F from above (examples,), for each example's Φ as its diagonal (examples, d_k)."""
        return raised(np.sqrt(np.square(gates) @ np.square(self.row_norms)), len(self.weight) + 6)


class FrozenChain:
    """A chain and what passes through it, for some examples, with a bound on what rounding did.

    Attributes:
        stages: W_k, b_k and φ_k.
        states: ĥ_0, …, ĥ_{L−1}, each (examples, d_k).
        arguments: ẑ_1, …, ẑ_L.
        state_errors: c_0, …, c_{L−1}: ‖h_k − ĥ_k‖ ≤ c_k, each (examples,).
        argument_errors: ζ_1, …, ζ_L: |z_k − ẑ_k| ≤ ζ_k entry by entry.
        gates: φ_k' at ẑ_k, a_k at 0 (examples, d_k).
        outputs: the floats for f(x) (examples, d_L); output_error: ‖f(x) − outputs‖ is at most that.
        open: 1 where an entry of h_k can answer to a small change: where the gate is not 0; of the inputs, and behind a
            residual block, none is shut.
        norms: upper bounds on ‖(ι_k I + Φ'_k W_k)[:, open]‖₂ (examples,), the layer as these examples see it; 0 for the
            first.
    """

    def __init__(self, stages: Sequence[Stage], x: Numbers) -> None:
        """Pass examples through the chain.

        Args:
            stages: of the frozen network.
            x: inputs (examples, d_0).

        Raises:
            ValueError: shapes that do not fit, or an input that is not finite.
        """
        h = finite_array(x, name="x")
        if not stages or h.ndim != 2:
            raise ValueError("a chain needs at least one stage, and inputs with an axis for the examples")
        self.stages = list(stages)
        with np.errstate(over="ignore", invalid="ignore"):  # then NaN or ∞ comes out, which claims nothing
            self._pass(h)

    def _pass(self, h: Array) -> None:
        self.states: list[Array] = []
        self.arguments: list[Array] = []
        self.gates: list[Array] = []
        self.state_errors: list[Array] = []
        self.argument_errors: list[Array] = []
        self.open: list[Array] = [np.ones(h.shape)]
        self.norms: list[Array] = []
        error, unsure = np.zeros(len(h)), np.zeros(len(h))
        for stage in self.stages:
            if stage.weight.shape[1] != h.shape[1]:
                raise ValueError(f"a weight of shape {stage.weight.shape} is given {h.shape[1]} numbers")
            a = stage.slope
            z, after = stage.outputs(h)
            rounding = gamma(h.shape[1] + 3) * (
                _products(norm_bound(h), stage.row_norms) + np.abs(stage.bias)
            )
            doubt = raised(_products(error, stage.row_norms) + rounding, 4)
            gate = np.where(z > 0, 1.0, a)
            norms = self._norms(stage, gate, self.open[-1]) if self.states else np.zeros(len(h))
            self.states.append(h)
            self.state_errors.append(error)
            self.arguments.append(z)
            self.argument_errors.append(doubt)
            self.gates.append(gate)
            self.open.append(np.ones(z.shape) if stage.skip else (gate > 0).astype(np.float64))
            self.norms.append(norms)
            h = after
            # h − ĥ = (ι + Φ'W)(h − ĥ) + Φ'rounding, but where rounding decides on a unit's sign: that is added in full
            passed = norms * error + (stage.norm + stage.skip) * unsure + norm_bound(gate * rounding)
            own = norm_bound(np.where(np.abs(z) <= doubt, doubt, 0.0)) * (a < 1)
            error = raised(passed + own + EPS * norm_bound(h) * (0 < a < 1 or stage.skip), 8)
            unsure = raised(own + stage.skip * unsure, 1)
        self.outputs, self.output_error = h, error

    @staticmethod
    def _norms(stage: Stage, gate: Array, given: Array) -> Array:
        norm = block_norm if stage.skip else masked_norm
        return np.array(
            [norm(stage.weight, rows, columns) for rows, columns in zip(gate, given, strict=True)]
        )

    def perturbed(self, stages: Sequence[Stage]) -> Perturbed:
        """What a perturbation does to each layer, at the unperturbed layer's input.

        Args:
            stages: of the perturbed network.

        Raises:
            ValueError: they are not those of the same network.
        """
        pairs = list(zip(self.stages, stages, strict=True))
        if any(a.weight.shape != b.weight.shape or (a.slope, a.skip) != (b.slope, b.skip) for a, b in pairs):
            raise ValueError("the perturbed network has other shapes, activations or skips")
        changes = [Stage(b.weight - a.weight, b.bias - a.bias, a.slope, a.skip) for a, b in pairs]
        shifts, doubts = [], []
        with np.errstate(over="ignore", invalid="ignore"):
            for change, h, error in zip(changes, self.states, self.state_errors, strict=True):
                shifts.append(h @ change.weight.T + change.bias)
                rounding = _products(norm_bound(h), change.row_norms) + np.abs(change.bias)
                passed = gamma(h.shape[1] + 4) * rounding + _products(error, change.row_norms)
                doubts.append(raised(passed, 8))
        return Perturbed(self, list(stages), changes, shifts, doubts)


@dataclass(frozen=True)
class Perturbed:
    """A chain's perturbation.

    Attributes:
        chain: the frozen network.
        stages: of the perturbed network: W̃_k, b̃_k.
        changes: W̃_k − W_k and b̃_k − b_k, each entry within u of itself.
        shifts: û_k, the floats for u_k = ΔW_k h_{k−1} + Δb_k (examples, d_k).
        doubts: υ_k: |u_k − û_k| ≤ υ_k.
    """

    chain: FrozenChain
    stages: list[Stage]
    changes: list[Stage]
    shifts: list[Array]
    doubts: list[Array]


def pattern_bound(perturbed: Perturbed) -> Array:
    r"""e_L of the module's theorem: ‖f̃(x) − f(x)‖ ≤ e_L, with outward rounding.

    .. math:: \|\tilde{f}(x) - f(x)\| \le e_L

    Takes a singular value for each example and each layer but the first, in a residual block two.

    Returns:
        (examples,), in the output's unit; 0 where nothing is perturbed, +∞ where a number overflows.
    """
    chain = perturbed.chain
    e = np.zeros(len(chain.states[0]))
    active = np.ones(chain.states[0].shape)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for k, stage in enumerate(perturbed.stages):
            u, doubt = perturbed.shifts[k], perturbed.doubts[k]
            size = np.abs(u) + doubt
            spread = stage.rows_over(active) * e[:, None]
            beyond = doubt + spread + 8 * EPS * (size + spread)
            D = _steepest(chain.arguments[k], chain.argument_errors[k], u + beyond, stage.slope)
            given = [active, e]
            if stage.skip:
                given.insert(
                    0, _flattest(chain.arguments[k], chain.argument_errors[k], beyond - u, stage.slope)
                )
            rows = zip(D, *given, strict=True)
            passes = _block if stage.skip else masked_norm
            norms = [passes(stage.weight, *row[:-1]) if row[-1] > 0 else 0.0 for row in rows]
            most = 1 + stage.norm if stage.skip else np.inf
            e = raised(np.minimum(norms, most) * e + norm_bound(D * size), 8)
            e = np.where(np.isnan(e), np.inf, e)
            active = np.maximum(active, D > 0) if stage.skip else (D > 0).astype(np.float64)
    return e


def _steepest(z: Array, doubt: Array, room: Array, slope: float) -> Array:
    """D_ii: the steepest chord of φ from z_i ≤ ẑ_i + ζ_i to anywhere up to z_i + s_i, rounded up."""
    top = z + doubt + 2 * EPS * (np.abs(z) + doubt)
    part = raised((room + top) / room, 4)
    chord = np.where(top >= 0, 1.0, np.where(top + room <= 0, slope, slope + (1 - slope) * part))
    return np.where(np.isnan(chord), 1.0, np.minimum(raised(chord, 4), 1.0))


def _flattest(z: Array, doubt: Array, room: Array, slope: float) -> Array:
    """E_ii: the flattest chord of φ from z_i ≥ ẑ_i − ζ_i to anywhere down to z_i − s'_i, rounded down."""
    low = z - doubt - 2 * EPS * (np.abs(z) + doubt)
    chord = (slope + (1 - slope) * low / room) * (1 - 8 * EPS)
    crossing = np.where((low > 0) & (chord < 1), np.maximum(chord, slope), slope)
    return np.where((low > 0) & (low >= room), 1.0, crossing)


def _block(matrix: Array, steepest: Array, flattest: Array, columns: Array) -> float:
    """‖I + M W‖₂ + ‖R W‖₂, both over some columns, from above."""
    middle = (steepest + flattest) / 2
    rest = np.where(steepest == flattest, 0.0, (steepest - flattest) / 2 + 2 * EPS)
    whole = block_norm(matrix, middle, columns)
    return whole + masked_norm(matrix, np.minimum(rest, 1.0), columns) if rest.any() else whole


def block_norm(matrix: Array, rows: Array, columns: Array) -> float:
    """‖(I + diag(rows) W)[:, columns]‖₂ from above, W being square."""
    part = matrix * rows[:, None]
    part[np.diag_indices_from(part)] += 1
    part = part[:, columns > 0]
    # both roundings of an entry are up to u of it, and up to u more where 1 was added
    missed = EPS * (2 * norm_bound(part.ravel()) + 2 * len(matrix) ** 0.5)
    return float(raised(spectral_norm_bound(part) + missed, 2))


def masked_norm(matrix: Array, rows: Array, columns: Array) -> float:
    """‖diag(rows) W[:, columns]‖₂ from above, rows being factors in [0, 1] and columns 0 or 1."""
    kept, used = rows > 0, columns > 0
    part = matrix[kept] if used.all() else matrix[np.ix_(kept, used)]
    factors = rows[kept]
    if (factors != 1).any():
        part = part * factors[:, None]
    # each entry is rounded by u, so the matrix by u‖·‖_F ≤ u√r‖·‖₂
    return float(spectral_norm_bound(part) * (1 + (min(part.shape) ** 0.5 + 2) * EPS))


def _products(left: Array, right: Array) -> Array:
    """(examples, d): one number an example times one number a unit."""
    return np.multiply.outer(left, right)
