"""What a reader must know of each table, in words, to stand beside it."""

from __future__ import annotations

__all__ = [
    "CHECKS",
    "CONSTANTS",
    "CURVATURE",
    "CURVATURE_BRIEFLY",
    "GROWTH",
    "LABELS",
    "LIMITS",
    "LIMITS_BRIEFLY",
    "ROUNDING",
    "SLACK",
    "SLACK_BRIEFLY",
    "SPLIT",
    "START",
    "VERDICTS",
]

VERDICTS = (
    "Only a theorem or a lemma can be `refuted`: every premise holds and the inequality fails; where it `holds`, the"
    " slack is what it has to spare, in orders of magnitude. `vacuous` is a bound that is nowhere finite, `useless`"
    " one that the triangle inequality alone beats, `premise fails` where one does not hold (the inequality's own"
    " outcome is beside it). A model is `within a factor of C`, up to the η where it is exceeded by more than two,"
    " or `off by` one; an estimate is within ×a to ×b of what was measured; a rule, a limit used without its premise,"
    " is `safe` or `unsafe by ×a`. Models and estimates that are off by more than a factor of two at some checkpoint"
    " count as contradicted. All speak of the claims as this toolkit restates them (`probe claims`)."
)
LIMITS = (
    "A limit is the η below which the loss is said to be below its start. *measured*: where the loss is back at its"
    " start, as searched for; *Lemma 2*: (1 + cos θ)^(1/L) − 1, with θ the angle of the worst layer's step to its"
    " negative gradient; *calibrated*: the same with cos θ / C, *C at η₀* being the effective constant below;"
    " *slice curvature*: 2|𝓛'|/𝓛'' at η = 0 (𝓛'' exact where `curvature` measured it, else from slopes); *predicted*:"
    " from two gradients; *certified*: proved, for the mean loss of the sampled examples alone."
)
LIMITS_BRIEFLY = (
    "C: the breakdown ‖g̃ − g‖/‖g‖ over what deep relative trust allows at η₀ = 10⁻⁴, in the worst layer; calibrated:"
    " Lemma 2's limit with this C; predicted: from two gradients; measured: where the loss is back at its start."
)
CONSTANTS = (
    "C is the breakdown ‖g̃ − g‖/‖g‖ of a layer's gradient over what deep relative trust allows it, ∏(1 + r_k) − 1 with"
    " r_k = ‖ΔW_k‖/‖W_k‖, at η₀ = 10⁻⁴; the model sets it to 1. The largest of all layers that move is *C at η₀*."
)
CURVATURE = (
    "The largest eigenvalue λ of the Hessian H, of the Gauss-Newton matrix, of the one layer's own block of H where it"
    " is largest; H's lowest; that of Adam's P⁻¹H; the trace with its standard error; and what the gradient g meets."
    " *critical* is 2/s with s the smallest plain gradient step that brings the loss back to its start (the critical"
    " learning rate, in the units of λ: gradient descent is said to ride it at λ = 2/s), and 2/η with the measured step"
    " limit η (critical sharpness in relative units). Brackets: not converged, the residual is above 1e-4."
)
CURVATURE_BRIEFLY = (
    "λ: largest eigenvalues of the Hessian H and others, in brackets where not converged; 2/s: the critical sharpness,"
    " s the plain gradient step at which the loss is back at its start; 2/η: the same of the measured step limit."
)
GROWTH = (
    "Each model's one constant is fitted to the smaller half of the η; the number is how far off it then is on the"
    " larger half, as a factor (root mean square)."
)
ROUNDING = (
    "What is below ten times the noise floor, the largest of a layer's at η = 0, is no evidence. The other columns are"
    " the share of a gradient's change that may be rounding, the largest of all layers: a few examples in float64 at a"
    " few η, along a direction that is turned by as much as rounding turns it. Above 10 % the points there are no"
    " evidence either."
)
CHECKS = (
    "What must hold of any correct measurement. A breach where the grid resolves the slice is a fault, and then stands"
    " above everything else here."
)
SPLIT = (
    "C is the breakdown ‖v‖/‖g‖ over deep relative trust D at η₀: of the input layer, and of the weight matrix where it"
    " is largest. v is what the Jacobians do (A, every example's ∂ℓ/∂f held) and what the change of these residuals"
    " does; the two signed parts add up to C, and (βκ²/α)^L speaks of the first alone. On the split's examples, whose C"
    " may be another than that of all, it is also a product: C_ex = Σ‖A_i‖/(D Σ‖g_i‖) of single examples, what cancels"
    " in their mean, and ‖v‖/‖A‖. Beside it stand single examples' own ‖A_i‖/(‖g_i‖D), and Theorem 1b's left side over"
    " its product (with `jacobian=N`). What is below the noise is in brackets."
)
START = (
    "The frozen networks as they are. Chance is the best output that is the same for every example, all labels being"
    " alike."
)
SLACK = (
    "The gap between the measured change of the output and Theorem 1 as published, step by step, in orders of"
    " magnitude (means of log10 over the same examples). *alignment*: the largest singular values of all layers are"
    " multiplied, as if each layer's output lay along the next one's (with `pattern=N` only through the units that"
    " are active, and *inactive units* is what the rest adds); *data-independent norms*: the inputs that layers really"
    " get are no longer looked at; *conditioning and α*: norms are replaced by condition numbers κ and the activation's"
    " least slope α; *one worst κ*: the largest κ of all layers stands for each. Nothing can be told after a step to an"
    " infinite bound; a share in brackets leads to a bound a premise of which is not known to hold."
)
SLACK_BRIEFLY = {
    "alignment": "norms are multiplied as if every layer stretched its input as much as it can",
    "inactive units": "those too that are off",
    "data-independent norms": "the layers' real inputs are no longer looked at",
    "conditioning and α": "condition numbers κ and the activation's least slope α for norms",
    "one worst κ": "the largest for all layers",
}
"""By the columns of the table."""
LABELS = (
    "Shares of the examples of `pattern` whose label did not change, and whose label provably cannot: the margin"
    " exceeds √2 times the smallest of all proved bounds."
)
ALIGNMENT = (
    "How much ∏β‖W_k‖₂ overestimates the Jacobian ‖A_L ··· A_1‖₂, in orders of magnitude (medians over the examples of"
    " `alignment`): *by gates*, ∏β‖W_k‖₂ over ∏‖A_k‖₂, A_k being layer k at the example (I + F' of a residual block);"
    " *by alignment*, ∏‖A_k‖₂ over ‖A_L ··· A_1‖₂, which is 0 where each layer passes on what the next stretches most."
    " Overlaps are |⟨v_1(A_{k+1}), u_1(A_k)⟩|, arbitrary where a layer's two largest singular values are nearly equal."
)
SPECTRAL_CONDITION = (
    "Weights and step beside √(d_k/d_{k−1}), over which the spectral condition wants both to be of one order in all"
    " layers: from the smallest layer's to the largest's. The step's is per unit of η, along this slice. Stable rank is"
    " ‖g‖_F²/‖g‖₂²."
)
