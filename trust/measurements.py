"""Every variable of the data: its name, dims, units and meaning, and which measure takes it.

Whoever writes or reads a variable refers to it here (``measurements[variables.LOSS]``, with
``from trust import measurements as variables``), so that a name stands in one place. A measure of a user's own
brings entries of its own along::

    SHARPNESS = Variable("sharpness", ("checkpoint", "eta"), "λ_max of the Hessian", units="loss / weight²")

Units are ``1`` for what has none (ratios, counts, logarithms), else words (``loss``, ``weight``, ``output``): a
loss or a norm is in the units of the user's own numbers. Symbols are those of THEORY: ~ is the perturbed network,
‖·‖_F the Frobenius norm, d the direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

__all__ = ["ALL", "EIGENVALUE_TOLERANCE", "SMALL_ETA", "Variable", "small_eta_place"]

SMALL_ETA = 1e-4
"""η₀, on every grid: what is meant by "at η → 0" is read off there (:func:`trust.claims.quantities.at_small_eta`)."""
EIGENVALUE_TOLERANCE = 1e-4
"""The residual ‖Hv − λv‖/|λ| above which an eigenvalue is not converged."""

C = ("checkpoint",)
CE = ("checkpoint", "eta")
CL = ("checkpoint", "layer")
CR = ("checkpoint", "rank")
CLR = ("checkpoint", "layer", "rank")
CX = ("checkpoint", "example")
CXL = ("checkpoint", "example", "layer")
CEL = ("checkpoint", "eta", "layer")
CEX = ("checkpoint", "eta", "example")
CELX = ("checkpoint", "eta", "layer", "example")
L = ("layer",)


_ROUNDING = 1e-9
"""Relative: an η that a grid's arithmetic rounded is still η₀."""


WITHOUT_LINE = ("quantize", "prune", "filter-noise", "adversarial")
"""Directions of a run under which every η has a perturbation of its own, so that there is no slope and no step."""


def small_eta_place(etas: Sequence[float]) -> int:
    """The place of the η that speaks for η → 0 in an increasing grid: of η₀, or the first above it.

    On a grid that ends below η₀, of the first above 0.
    """
    places = range(len(etas))
    above = (k for k in places if etas[k] >= SMALL_ETA * (1 - _ROUNDING))
    return next(above, next((k for k in places if etas[k] > 0), 0))


class Variable(str):
    """A name in the data, a string like any other, that knows what it stands for.

    Attributes:
        dims: the names of its axes.
        meaning: a sentence, with the formula.
        units: ``1`` where it has none; empty for words.
        long_name: a few words, for an axis of a plot.
        measure: the name of the measure that takes it; empty for what comes with the network or checkpoint.
    """

    __slots__ = ("dims", "long_name", "meaning", "measure", "units")

    dims: tuple[str, ...]
    meaning: str
    units: str
    long_name: str
    measure: str

    def __new__(
        cls,
        name: str,
        dims: tuple[str, ...],
        meaning: str,
        units: str = "1",
        long_name: str = "",
        measure: str = "",
    ) -> Variable:
        """Make an entry; the arguments are the attributes, the long name by default the name in words.

        Raises:
            ValueError: the name is none that a dataset's column could have.
        """
        if not name.isidentifier():
            raise ValueError(f"a variable's name must be a word of letters, digits and _, got {name!r}")
        variable = super().__new__(cls, name)
        variable.dims, variable.meaning, variable.units = tuple(dims), meaning, units
        variable.long_name, variable.measure = long_name or name.replace("_", " "), measure
        return variable

    def __getnewargs__(self) -> tuple[Any, ...]:
        """How a copy is made."""
        return str(self), self.dims, self.meaning, self.units, self.long_name, self.measure

    @property
    def attributes(self) -> dict[str, str]:
        """What a dataset says of it, by the names of the CF conventions."""
        return {"long_name": self.long_name} | ({"units": self.units} if self.units else {})


# Losses, outputs and gradients at each η.
_breakdown = partial(Variable, measure="breakdown")
LOSS = _breakdown("loss", CE, "the full-batch mean loss 𝓛", "loss", "full-batch mean loss")
ACCURACY = _breakdown(
    "accuracy",
    CE,
    "share of examples classified rightly; NaN where there are no labels",
    long_name="share classified rightly",
)
CHANCE_LOSS = _breakdown(
    "chance_loss",
    C,
    "the loss of a constant output: log(classes), log 2 for binary targets, the targets' variance for squared errors;"
    " NaN where that is not known",
    "loss",
    "loss of chance",
)
SLOPE = _breakdown(
    "slope",
    CE,
    "d𝓛/dη = Σ_l ⟨g_l(η), d_l⟩; NaN where not all of its gradients are measured",
    "loss",
    "slope of the loss",
)
GRADIENT_CHANGE = _breakdown(
    "gradient_change", CEL, "‖g̃_l − g_l‖_F / ‖g_l‖_F", long_name="gradient breakdown"
)
GRADIENT_DIFFERENCE = _breakdown(
    "gradient_difference", CEL, "‖g̃_l − g_l‖_F", "loss / weight", "size of the gradient's change"
)
GRADIENT_COSINE = _breakdown("gradient_cosine", CEL, "the cosine of g̃_l and g_l")
GRADIENT_NORM = _breakdown("gradient_norm", CEL, "‖g̃_l‖_F", "loss / weight")
RELATIVE_PERTURBATION = _breakdown(
    "relative_perturbation", CEL, "r_l = ‖ΔW_l‖_F / ‖W_l‖_F, as measured and not as intended"
)
PERTURBATION_NORM = _breakdown(
    "perturbation_norm", CEL, "‖ΔW_l‖_F, as measured and not as intended", "weight"
)
OUTPUT_CHANGE = _breakdown("output_change", CEX, "‖f̃(x) − f(x)‖ / ‖f(x)‖", long_name="relative output change")
OUTPUT_GROWTH = _breakdown("output_growth", CEX, "‖f̃(x)‖ / ‖f(x)‖", long_name="growth of the output's norm")
SLOPE_AT_ZERO = _breakdown("slope_at_zero", C, "𝓛'(0) = Σ_l ⟨g_l, d_l⟩", "loss", "slope at η = 0")
PERTURBATION_COSINE = _breakdown(
    "perturbation_cosine", CL, "cos θ_l between d_l and −g_l", long_name="cosine of direction and descent"
)
WEIGHT_NORM = _breakdown("weight_norm", CL, "‖W_l‖_F of the frozen W_l", "weight")
UPDATE_SIZE = _breakdown(
    "update_size", C, "the η of the real step to the next checkpoint, with `--direction update`"
)
OUTPUT_DIFFERENCE_L1 = _breakdown("output_difference_l1", CEX, "‖f̃(x) − f(x)‖₁", "output", "ℓ1 output change")

# What rounding alone does; in every run.
_noise = partial(Variable, measure="noise-floor")
NOISE_FLOOR = _noise(
    "noise_floor",
    CL,
    "what rounding alone does to `gradient_change`; NaN where the gradient is zero but for rounding (of a key's bias "
    "under softmax), so that no change of it is evidence",
    long_name="noise floor",
)
OUTPUT_NOISE_FLOOR = _noise("output_noise_floor", C, "what rounding alone does to `output_change`")
LOSS_NOISE_FLOOR = _noise("loss_noise_floor", C, "what rounding alone does to the loss, relative to it")

GRADIENT_CHANGE_ERROR = Variable(
    "gradient_change_error",
    CEL,
    "‖g̃_l − g̃'_l‖_F / ‖g'_l‖_F on a few examples, ' in float64 and along a direction that differs from d by as much "
    "as that of their gradients does: what rounding does to `gradient_change` at this η; NaN at the η that are not "
    "checked",
    long_name="error of the gradient breakdown",
    measure="spot-check",
)

# Singular values by LAPACK in float64, rounded to the safe side.
_spectra = partial(Variable, measure="spectra")
SPECTRAL_NORM = _spectra(
    "spectral_norm", CL, "σ_max of the frozen W_l (rounded up, like everything in this table)", "weight"
)
CONDITION_NUMBER = _spectra("condition_number", CL, "κ(W_l), over all min(m, n) singular values")
DIRECTION_SPECTRAL_NORM = _spectra("direction_spectral_norm", CL, "σ_max of d_l", "weight")
DIRECTION_CONDITION_NUMBER = _spectra(
    "direction_condition_number",
    CL,
    "κ(d_l), which but for rounding is κ(ΔW_l) at every η; singular values up to max(m, n)·ε·‖d_l‖_F count as "
    "zero, with ε of the run's dtype",
)
GRADIENT_STABLE_RANK = _spectra(
    "gradient_stable_rank", CL, "‖g_l‖_F² / ‖g_l‖₂² at η = 0: automatic gradient descent assumes 1"
)
PERTURBED_CONDITION_NUMBER = _spectra("perturbed_condition_number", CEL, "κ(W̃_l), with `--spectra slice`")
PERTURBATION_SPECTRAL_NORM = _spectra(
    "perturbation_spectral_norm",
    CEL,
    "σ_max of ΔW_l = W̃_l − W_l as realised: at most ησ_max(d_l) + ‖ΔW_l − ηd_l‖_F, and exact with `--spectra slice` "
    "or `--direction adversarial`",
    "weight",
)
PERTURBATION_CONDITION_NUMBER = _spectra(
    "perturbation_condition_number",
    CEL,
    "κ(ΔW_l) as realised, or a bound from above likewise; singular values up to max(m, n)·ε·‖W_l‖₂ count as zero, "
    "with ε of the run's dtype",
)

# Layers' Jacobians and gates, with `--jacobian N`.
_sensitivity = partial(Variable, measure="sensitivity")
JACOBIAN_CHANGE = _sensitivity(
    "jacobian_change",
    CELX,
    "‖J̃ − J‖_F / ‖J‖_F, J the Jacobian of the outputs with respect to *the input of* layer "
    "l, all paths counted. For the first weight matrix of each module, and its first call; "
    "NaN where a module is never called (attention's `out_proj`), or its input is no floating "
    "tensor or has no row an example",
    long_name="relative Jacobian change",
)
GATE_CHANGE = _sensitivity(
    "gate_change",
    CELX,
    "s_l = max_i |φ'(z̃_i) − φ'(z_i)| / |φ'(z_i)| of the activation behind weight matrix l, where that is known",
)

# The gradient's change taken apart, v_l = g̃_l − g_l = A_l + B_l.
_split = partial(Variable, measure="split")
FROZEN_RESIDUAL_CHANGE = _split(
    "frozen_residual_change",
    CEL,
    "‖A_l‖_F / ‖g_l‖_F, A_l = mean_i r_iᵀ(J̃_i − J_i) the gradient's change with every example's residual "
    "r_i = ∂ℓ/∂f(x_i) as it is at η = 0, J_i = ∂f(x_i)/∂W_l; of all examples",
    long_name="gradient breakdown, residuals frozen",
)
RESIDUAL_CHANGE = _split(
    "residual_change",
    CEL,
    "‖B_l‖_F / ‖g_l‖_F, B_l = mean_i (r̃_i − r_i)ᵀJ̃_i the rest of the gradient's change; of all examples",
    long_name="gradient's change by residuals",
)
MEAN_EXAMPLE_CHANGE = _split(
    "mean_example_change",
    CEL,
    "Σ_i ‖A_i‖_F / Σ_i ‖g_i‖_F over the split's examples, A_i = r_iᵀ(J̃_i − J_i) and g_i = r_iᵀJ_i; NaN where "
    "examples mix",
)
SAMPLE_CANCELLATION = _split(
    "sample_cancellation",
    CEL,
    "(‖Σ_i A_i‖ / Σ_i ‖A_i‖) · (Σ_i ‖g_i‖ / ‖Σ_i g_i‖) over the split's examples; NaN where all A_i = 0",
)
SAMPLE_RESIDUAL_FACTOR = _split(
    "sample_residual_factor",
    CEL,
    "‖Σ_i v_i‖ / ‖Σ_i A_i‖ over the split's examples; NaN where all A_i = 0",
)
SAMPLE_GRADIENT_CHANGE = _split(
    "sample_gradient_change",
    CEL,
    "‖Σ_i v_i‖ / ‖Σ_i g_i‖ over the split's examples, the product of the three",
)
EXAMPLE_GRADIENT_CHANGE = _split(
    "example_gradient_change",
    (*CEL, "quantile"),
    "‖A_i‖_F / ‖g_i‖_F of single examples: the least that this share of the split's examples does not exceed, "
    "those with g_i = 0 left out",
)
EXAMPLES_WITHOUT_GRADIENT = _split(
    "examples_without_gradient", CL, "how many of the split's examples have g_i = 0, and no ratio", "examples"
)
SPLIT_EXAMPLES = _split(
    "split_examples", C, "the split's examples: how many, the first of the sample", "examples"
)
QUANTILE = _split("quantile", ("quantile",), "the share of the examples")

# What the bounds are made of, with `--ladder`.
_ladder = partial(Variable, measure="ladder")
OUTPUT_NORM = _ladder("output_norm", CX, "‖f(x)‖₂", "output")
INPUT_NORM = _ladder("input_norm", CX, "‖x‖₂", "input")
INPUT_MAX = _ladder("input_max", CX, "‖x‖_∞", "input")
TARGET_NORM = _ladder(
    "target_norm", CX, "‖y‖₂ where the targets are as many numbers as the outputs", "output"
)
OPERATOR_NORM = _ladder(
    "operator_norm",
    CL,
    "of W_l as a linear map: a matrix's largest singular value; a convolution's own norm on "
    "its input size, exact where the map is small and else an upper bound, never a lower "
    "estimate",
    "weight",
)
DIRECTION_OPERATOR_NORM = _ladder("direction_operator_norm", CL, "of d_l as a linear map", "weight")
PERTURBED_OPERATOR_NORM = _ladder(
    "perturbed_operator_norm", CEL, "of W̃_l as a linear map, at most 2·10⁻⁴ above it for matrices", "weight"
)
PERTURBATION_OPERATOR_NORM = _ladder(
    "perturbation_operator_norm",
    CEL,
    "of ΔW_l as a linear map (at most η‖d_l‖ and what rounding added)",
    "weight",
)
PERTURBATION_RESPONSE = _ladder(
    "perturbation_response",
    CELX,
    "‖ΔW_l h_{l−1}(x)‖; for a bias ‖Δb‖ times the root of the number of positions it is added at",
    "output",
)
_FOLDED = "of a weight with the batch norm behind it folded in, or of a batch norm by itself; where there is batch norm"
STAGE_NORM = _ladder("stage_norm", CL, f"the norm as a linear map {_FOLDED}", "weight")
PERTURBED_STAGE_NORM = _ladder("perturbed_stage_norm", CEL, "the same of the perturbed network", "weight")
PERTURBATION_STAGE_NORM = _ladder(
    "perturbation_stage_norm", CEL, "of the change of that linear map", "weight"
)
STAGE_RESPONSE = _ladder(
    "stage_response",
    CELX,
    "‖ΔW h(x) + Δb‖, ΔW and Δb the changes of that linear map and of its constant, h what it is given in the frozen "
    "network",
    "output",
)
LINEARISATION_ERROR = _ladder("linearisation_error", CEX, "‖f̃ − f − ∂_W f·ΔW‖₂", "output")
LINEARISATION_COSINE = _ladder("linearisation_cosine", CEX, "of f̃ − f − ∂_W f·ΔW with the residual f − y")
INPUT_RESPONSE = _ladder(
    "input_response",
    CEX,
    "‖f(x + Δx) − f(x)‖₂ for Δx of size η‖x‖ along the gradient of the example's loss",
    "output",
)
LOG10_PATH_NORM = _ladder("log10_path_norm", CE, "log10 PN(W̃), for plain perceptrons")
LOG10_PATH_DISTANCE = _ladder(
    "log10_path_distance", CE, "log10 of PN(W) + PN(W̃) − 2PN(m), m the midpoint, for plain perceptrons"
)
LOG10_PATH_DIFFERENCE = _ladder(
    "log10_path_difference", CE, "log10 ‖Φ(W) − Φ(W̃)‖₁, where there are at most 100,000 paths"
)
OPPOSITE_SIGNS = _ladder(
    "opposite_signs",
    CE,
    "how many weights and biases have opposite signs in W and W̃, for plain perceptrons",
)
OPERATOR = _ladder(
    "operator",
    L,
    "what a weight is as a linear map: `matrix`, `convolution`, `transposed convolution` or "
    "`unknown` (NaN); with `--ladder`",
    "",
    "linear map",
)

# Which units are active, with `--pattern N`.
_pattern = partial(Variable, measure="pattern")
PATTERN_BOUND = _pattern(
    "pattern_bound",
    CEX,
    "an upper bound on ‖f̃(x) − f(x)‖₂ from the units that are or may become active, rounded up, "
    "for chains of ReLU, leaky ReLU or linear layers, residual ones too",
    "output",
)
RESPONSE_BOUND = _pattern(
    "response_bound",
    CEX,
    "another: ‖∂_W f·ΔW‖₂ and a bound on the rest; it holds all along the way, for W + tΔW with "
    "t times the number, t ≤ 1",
    "output",
)
MARGIN = _pattern("margin", CX, "the largest output less the second largest, f frozen", "output")
LABEL_KEPT = _pattern(
    "label_kept", CEX, "1 where the largest output is of the same class as at η = 0, else 0"
)
LOSS_RISE = _pattern("loss_rise", CEX, "the example's loss less that at η = 0, for cross-entropy", "loss")
LOSS_RISE_BOUND = _pattern(
    "loss_rise_bound",
    CEX,
    "an upper bound on it, rounded up, that holds all along the way, for W + tΔW with t times the number, t ≤ 1",
    "loss",
)
CERTIFIED_STEP = _pattern(
    "certified_step",
    C,
    "the largest η found up to which the mean loss of these N examples provably stays below its start, "
    "at every smaller η too; 0: none found",
    long_name="certified step",
)
CERTIFIED_STEP_TRIALS = _pattern(
    "certified_step_trials", C, "how many η off the grid were tried for it", "evaluations"
)

# How far neighbouring layers are aligned, with `--alignment N`: A_k(x) = ∂h_k/∂h_{k−1} of a chain of layers.
_alignment = partial(Variable, measure="alignment")
JACOBIAN_ALIGNMENT = _alignment(
    "jacobian_alignment",
    CXL,
    "log10(‖A_L ··· A_{l+1}‖₂ / ∏_{k>l} ‖A_k‖₂), of what follows layer l; 0 for the last two, of which there is nothing"
    " to align",
    long_name="alignment of the following layers' Jacobians",
)
SINGULAR_VECTOR_OVERLAP = _alignment(
    "singular_vector_overlap",
    CXL,
    "|⟨v_1(A_{l+1}), u_1(A_l)⟩|; any number where a layer's two largest singular values are nearly equal",
)
LAYER_JACOBIAN_NORM = _alignment(
    "layer_jacobian_norm", CXL, "‖A_l‖₂, its largest singular value; a layer is named by its first weight"
)
LAYER_JACOBIAN_SECOND = _alignment(
    "layer_jacobian_second",
    CXL,
    "the second singular value of A_l: where it is near the first, the overlaps on either side are arbitrary",
    long_name="second singular value of a layer's Jacobian",
)
WHOLE_JACOBIAN_ALIGNMENT = _alignment(
    "whole_jacobian_alignment",
    CX,
    "log10(‖A_L ··· A_1‖₂ / ∏_k ‖A_k‖₂), of the whole network; NaN where a layer's Jacobian is zero",
    long_name="alignment of the layers' Jacobians",
)
JACOBIAN_NORM = _alignment("jacobian_norm", CX, "‖A_L ··· A_1‖₂ = ‖∂f/∂x‖₂", "output / input")

# Along the line.
_curvature = partial(Variable, measure="curvature")
CURVATURE = _curvature(
    "curvature",
    C,
    "𝓛''(0) = dᵀHd by differentiating twice; NaN where PyTorch lacks a second derivative",
    "loss",
    "curvature along the slice",
)
_eigenvalues = partial(Variable, measure="eigenvalues")
_RESIDUAL = "‖Hv − λv‖/|λ| of it, by a product of its own: above 1e-4 it is not converged"
_SHARPNESS = "loss / weight²"
HESSIAN_EIGENVALUE = _eigenvalues(
    "hessian_eigenvalue",
    CR,
    "the largest eigenvalues λ of the Hessian of all trainable tensors, the largest first; NaN where there are no more",
    _SHARPNESS,
    "Hessian eigenvalue",
)
HESSIAN_RESIDUAL = _eigenvalues("hessian_residual", CR, _RESIDUAL)
LOWEST_HESSIAN_EIGENVALUE = _eigenvalues(
    "lowest_hessian_eigenvalue", CR, "its smallest eigenvalues, the most negative first", _SHARPNESS
)
LOWEST_HESSIAN_RESIDUAL = _eigenvalues("lowest_hessian_residual", CR, _RESIDUAL)
GAUSS_NEWTON_EIGENVALUE = _eigenvalues(
    "gauss_newton_eigenvalue",
    CR,
    "the largest eigenvalues of the Gauss-Newton matrix mean_i J_iᵀ (∂²ℓ_i/∂f²) J_i; NaN where the loss calls the "
    "network itself",
    _SHARPNESS,
    "Gauss-Newton eigenvalue",
)
GAUSS_NEWTON_RESIDUAL = _eigenvalues("gauss_newton_residual", CR, _RESIDUAL)
LAYER_HESSIAN_EIGENVALUE = _eigenvalues(
    "layer_hessian_eigenvalue",
    CLR,
    "the largest eigenvalues of the Hessian's own block of each trainable weight matrix",
    _SHARPNESS,
    "Hessian eigenvalue of a layer's block",
)
LAYER_HESSIAN_RESIDUAL = _eigenvalues("layer_hessian_residual", CLR, _RESIDUAL)
LAYER_GAUSS_NEWTON_EIGENVALUE = _eigenvalues(
    "layer_gauss_newton_eigenvalue",
    CLR,
    "the same of the Gauss-Newton matrix",
    _SHARPNESS,
    "Gauss-Newton eigenvalue of a layer's block",
)
LAYER_GAUSS_NEWTON_RESIDUAL = _eigenvalues("layer_gauss_newton_residual", CLR, _RESIDUAL)
PRECONDITIONED_EIGENVALUE = _eigenvalues(
    "preconditioned_eigenvalue",
    CR,
    "the largest eigenvalues of P^(−½) H P^(−½), P = (1 − β₁^t)(√v̂ + ε), where Adam's state is known",
    "loss",
    "eigenvalue of the preconditioned Hessian",
)
PRECONDITIONED_RESIDUAL = _eigenvalues("preconditioned_residual", CR, _RESIDUAL)
_traces = partial(Variable, measure="traces")
_ERROR = "standard error of its mean over random signs"
HESSIAN_TRACE = _traces("hessian_trace", C, "the Hessian's trace by Hutchinson's estimator", _SHARPNESS)
HESSIAN_TRACE_ERROR = _traces("hessian_trace_error", C, _ERROR, _SHARPNESS)
GAUSS_NEWTON_TRACE = _traces(
    "gauss_newton_trace", C, "the Gauss-Newton matrix's, as the eigenvalues are", _SHARPNESS
)
GAUSS_NEWTON_TRACE_ERROR = _traces("gauss_newton_trace_error", C, _ERROR, _SHARPNESS)
NTK_TRACE = _traces(
    "ntk_trace",
    C,
    "the neural tangent kernel's trace Σ_i ‖∂f(x_i)/∂W‖_F² over all examples and trainable tensors, as the mean of "
    "‖Jᵀu‖² over random signs u (Hutchinson)",
    "output² / weight²",
    "trace of the neural tangent kernel",
)
NTK_TRACE_ERROR = _traces("ntk_trace_error", C, _ERROR, "output² / weight²")
_gradients = partial(Variable, measure="gradient-curvature")
BREAKDOWN_SLOPE = _gradients(
    "breakdown_slope",
    CL,
    "‖(Hd)_l‖_F / ‖g_l‖_F, the gradient breakdown's slope at η → 0 without kinks: what gradient_change/η is more "
    "at the smallest η is the share of ReLU's kinks",
)
GRADIENT_SHARPNESS = _gradients(
    "gradient_sharpness", C, "gᵀHg/‖g‖² of the full-batch gradient g of all trainable tensors", _SHARPNESS
)
GRADIENT_STEP_LIMIT = _gradients(
    "gradient_step_limit",
    C,
    "smallest s > 0 found with 𝓛(W − sg) back at its start, to 1 %: the critical learning rate, and 2/s the critical "
    "sharpness in the units of the Hessian's eigenvalues; NaN: none found",
    "weight² / loss",
    "critical learning rate",
)
_norms = partial(Variable, measure="norm-sharpness")
SIGN_SHARPNESS = _norms(
    "sign_sharpness",
    C,
    "a lower bound on max dᵀHd over ‖d‖∞ ≤ 1, the sharpness of sign descent: the best of ascents from several starts",
    "loss",
    "sharpness under ‖·‖∞, at least",
)
SPECTRAL_SHARPNESS = _norms(
    "spectral_sharpness",
    C,
    "a lower bound on max dᵀHd over ‖d_l‖₂ ≤ 1 for every trainable weight matrix, others at rest, the sharpness of "
    "Muon: the best of ascents from several starts",
    "loss",
    "sharpness under spectral norms, at least",
)
_batches = partial(Variable, measure="batch-sharpness")
BATCH_SHARPNESS = _batches(
    "batch_sharpness",
    C,
    "E_B[g_Bᵀ H_B g_B / ‖g_B‖²] over 32 random batches of `--batch-sharpness SIZE` examples",
    _SHARPNESS,
)
BATCH_SHARPNESS_ERROR = _batches(
    "batch_sharpness_error", C, "standard error of its mean over the batches", _SHARPNESS
)
_limit = partial(Variable, measure="step-limit")
STEP_LIMIT = _limit(
    "step_limit",
    C,
    "smallest η > 0 found with the loss back at its start, to 1 %; NaN: not up to the largest searched",
    long_name="measured step limit",
)
STEP_LIMIT_SEARCHED_TO = _limit(
    "step_limit_searched_to", C, "the largest η at which the search knows the loss"
)
STEP_LIMIT_EVALUATIONS = _limit(
    "step_limit_evaluations", C, "how many losses the search itself evaluated", "evaluations"
)
STEP_LIMIT_SEARCHED_FROM = _limit(
    "step_limit_searched_from", C, "the smallest η at which the search knows the loss"
)
STEP_LIMIT_RESOLUTION = _limit(
    "step_limit_resolution",
    C,
    "the largest factor between neighbouring η at which the loss is known, from `step_limit_searched_from` to the "
    "limit, or to where the search ended: a return that no slope beside it tells of may hide in it",
)
STEP_LIMIT_CLEAR_TO = _limit(
    "step_limit_clear_to",
    C,
    "up to which η, at most the limit, the cubics through the losses and slopes known leave no return possible "
    "(`trust.hermite.return_margin`)",
)
_predicted = partial(Variable, measure="predicted-limit")
PREDICTED_LIMIT = _predicted(
    "predicted_limit",
    C,
    "an η near the limit, predicted from two gradients, at which the loss was evaluated and is below its start; 0: "
    "none was found",
    long_name="predicted step limit",
)
PREDICTED_LIMIT_GRADIENTS = _predicted(
    "predicted_limit_gradients", C, "how many gradients beside that at η = 0 were taken for it", "evaluations"
)
PREDICTED_LIMIT_LOSSES = _predicted(
    "predicted_limit_losses", C, "how many losses were evaluated to make it safe", "evaluations"
)
_adversarial = partial(Variable, measure="adversarial")
ADVERSARIAL_VALUE = _adversarial(
    "adversarial_value",
    CE,
    "what `--direction adversarial` reached: with `--objective output` the mean relative "
    "output change of the sampled examples, with `breakdown` that of the first layer's "
    "gradient",
)

# Coordinates.
ETA = Variable("eta", ("eta",), "the strength η of W + η d", long_name="perturbation strength η")
LEVEL = Variable(
    "level",
    ("eta",),
    "of `--direction quantize` bits, of `prune` and `filter-noise` percent; NaN for the frozen network",
)
IS_WEIGHT = Variable(
    "is_weight",
    L,
    "whether the tensor is a weight matrix: they alone count towards L",
    long_name="whether a weight matrix",
)
USES = Variable(
    "uses",
    L,
    "how often the forward pass of an example uses the tensor: L counts every use of a weight matrix. A "
    "recurrent layer uses its weights once a time step (of the first example's sequence)",
)
KIND = Variable("kind", L, "what the tensor is (see *The parameters*)", "")
TREATMENT = Variable("treatment", L, "whether it moves, and if not why (see *The parameters*)", "")
ROWS = Variable("rows", L, "of a weight as a matrix (out, everything else); 0 for others")
COLUMNS = Variable("columns", L, "of a weight as a matrix (out, everything else); 0 for others")
ACTIVATION = Variable(
    "activation",
    L,
    "the function that follows a weight matrix, as read off the forward pass; empty if unclear",
    "",
)
STEP = Variable("step", C, "as the checkpoint says; NaN where it does not")
EPOCH = Variable("epoch", C, "as the checkpoint says; NaN where it does not")
TRAIN_ACCURACY = Variable("train_accuracy", C, "as the checkpoint says; NaN where it does not")
FULL_BATCH_SHARPNESS = Variable(
    "full_batch_sharpness",
    C,
    "λ_max of the Hessian of the same network trained on the full batch, at the same time ηt; a study brings it",
    "loss / weight²",
)
LEARNING_RATE = Variable(
    "learning_rate",
    C,
    "the step size of the next step (of the last checkpoint: of the last step), as the checkpoint says; NaN where it"
    " does not",
)
WEIGHTS_HASH = Variable("weights_hash", C, "SHA-256 of names and numbers, in short", "")

ALL: dict[str, Variable] = {
    str(value): value for value in list(globals().values()) if isinstance(value, Variable)
}
"""Every entry by its name, in the order of the documentation."""
