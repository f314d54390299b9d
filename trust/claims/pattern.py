"""Bounds that know which units are active, example by example: the tightest rungs of the ladder."""

from __future__ import annotations

from trust import measurements as variables
from trust.activations import activation
from trust.claims.claim import Premise, Quantity
from trust.claims.forms import pattern as forms
from trust.claims.output import output_claim, relative_to_output
from trust.claims.premises import BLOCKS, each_activation
from trust.claims.quantities import log10, perturbed

__all__ = ["PATTERN_TELESCOPED", "PIECEWISE_LINEAR", "RESPONSE"]

_ADD = "`pattern=N` (for chains of ReLU, leaky ReLU or linear layers, residual ones too)"


def _piecewise_linear(name: str) -> bool:
    """Whether φ is max(z, az) with 0 ≤ a ≤ 1."""
    slope = float(activation(name).derivative(-1.0))
    return name.partition(":")[0] in ("relu", "leaky_relu", "identity") and 0 <= slope <= 1


def _measured_bound(variable: str) -> Quantity:
    return lambda measurements: relative_to_output(log10(perturbed(measurements)[variable]), measurements)


PIECEWISE_LINEAR = Premise(
    "piecewise linear",
    "each φ_k is ReLU, leaky ReLU with a slope from 0 to 1, or the identity",
    each_activation(_piecewise_linear),
)

PATTERN_TELESCOPED = output_claim(
    "pattern-telescoped",
    "this toolkit: the telescoped bound over the units that are or may become active",
    "‖f̃(x) − f(x)‖ ≤ e_L, e_k = ‖D_kW̃_k[:, S_{k−1}]‖₂ e_{k−1} + ‖D_k(ΔW_kh_{k−1} + Δb_k)‖, S_k the units that are or"
    " may become active, D_k the steepest chords of φ_k that they can reach",
    _measured_bound(variables.PATTERN_BOUND),
    (BLOCKS, PIECEWISE_LINEAR),
    78,
    (variables.PATTERN_BOUND, variables.OUTPUT_NORM),
    add=_ADD,
    proved=True,
    formula=(
        r"\|\tilde{f}(x) - f(x)\| \le e_L, \\"
        r" e_k = \|D_k \tilde{W}_k[:, S_{k - 1}]\|_2 \, e_{k - 1}"
        r" + \|D_k(\Delta W_k h_{k - 1} + \Delta b_k)\|"
    ),
    form=forms.PATTERN_FORM,
)

RESPONSE = output_claim(
    "pattern-response",
    "this toolkit: the linear response, and all that units which cross their kinks can add",
    "‖f(W + tΔW) − f(W)‖ ≤ t(‖∂_W f·ΔW‖ + P_L + ν_L) for 0 < t ≤ 1 (trust.response has the recursion)",
    _measured_bound(variables.RESPONSE_BOUND),
    (BLOCKS, PIECEWISE_LINEAR),
    79,
    (variables.RESPONSE_BOUND, variables.OUTPUT_NORM),
    add=_ADD,
    proved=True,
    formula=(
        r"\|f(W + t \Delta W) - f(W)\| \le t \bigl(\|\partial_W f \cdot \Delta W\| + P_L + \nu_L\bigr)"
        r" \text{ for } 0 < t \le 1"
    ),
    form=forms.RESPONSE_FORM,
)
