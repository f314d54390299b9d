"""Every variable of the data: its name, dims, units and meaning, and which measure takes it.

Whoever writes or reads a variable refers to it here (``measurements[variables.LOSS]``, with
``from trust import measurements as variables``), so that a name stands in one place. A measure of a user's own
brings entries of its own along::

    SHARPNESS = Variable("sharpness", ("checkpoint", "eta"), "loss / weight²", "sharpness", "λ_max(H)")

Units are ``1`` for what has none (ratios, counts, logarithms), else words (``loss``, ``weight``, ``output``): a
loss or a norm is in the units of the user's own numbers. Symbols are those of THEORY: ~ is the perturbed network,
‖·‖_F the Frobenius norm, d the direction.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ALL", "Variable"]

C = ("checkpoint",)
CE = ("checkpoint", "eta")
CL = ("checkpoint", "layer")
CX = ("checkpoint", "example")
CEL = ("checkpoint", "eta", "layer")
CEX = ("checkpoint", "eta", "example")
CELX = ("checkpoint", "eta", "layer", "example")
L = ("layer",)


class Variable(str):
    """A name in the data, a string like any other, that knows what it stands for.

    Attributes:
        dims: the names of its axes.
        units: ``1`` where it has none; empty for words.
        long_name: a few words, for an axis of a plot.
        meaning: a sentence, with the formula.
        measure: the name of the measure that takes it; empty for what comes with the network or checkpoint.
    """

    __slots__ = ("dims", "long_name", "meaning", "measure", "units")

    dims: tuple[str, ...]
    units: str
    long_name: str
    meaning: str
    measure: str

    def __new__(
        cls, name: str, dims: tuple[str, ...], units: str, long_name: str, meaning: str, measure: str = ""
    ) -> Variable:
        """Make an entry; the arguments are the attributes.

        Raises:
            ValueError: the name is none that a dataset's column could have.
        """
        if not name.isidentifier():
            raise ValueError(f"a variable's name must be a word of letters, digits and _, got {name!r}")
        variable = super().__new__(cls, name)
        variable.dims, variable.units, variable.long_name = tuple(dims), units, long_name
        variable.meaning, variable.measure = meaning, measure
        return variable

    def __getnewargs__(self) -> tuple[Any, ...]:
        """How a copy is made."""
        return str(self), self.dims, self.units, self.long_name, self.meaning, self.measure

    @property
    def attributes(self) -> dict[str, str]:
        """What a dataset says of it, by the names of the CF conventions."""
        return {"long_name": self.long_name} | ({"units": self.units} if self.units else {})


# The slice: on the grid of η, with the evaluations' gradients.
LOSS = Variable("loss", CE, "loss", "full-batch mean loss", "the full-batch mean loss 𝓛", "breakdown")
ACCURACY = Variable(
    "accuracy",
    CE,
    "1",
    "share classified rightly",
    "the share of examples that are classified rightly; NaN where there are no labels",
    "breakdown",
)
SLOPE = Variable(
    "slope",
    CE,
    "loss",
    "slope of the loss",
    "d𝓛/dη = Σ_l ⟨g_l(η), d_l⟩; NaN where not all of its gradients are measured",
    "breakdown",
)
GRADIENT_CHANGE = Variable(
    "gradient_change", CEL, "1", "gradient breakdown", "‖g̃_l − g_l‖_F / ‖g_l‖_F", "breakdown"
)
GRADIENT_DIFFERENCE = Variable(
    "gradient_difference", CEL, "loss / weight", "size of the gradient's change", "‖g̃_l − g_l‖_F", "breakdown"
)
GRADIENT_COSINE = Variable(
    "gradient_cosine", CEL, "1", "cosine of gradients", "the cosine of g̃_l and g_l", "breakdown"
)
GRADIENT_NORM = Variable(
    "gradient_norm", CEL, "loss / weight", "size of the gradient", "‖g̃_l‖_F", "breakdown"
)
RELATIVE_PERTURBATION = Variable(
    "relative_perturbation",
    CEL,
    "1",
    "relative perturbation",
    "r_l = ‖ΔW_l‖_F / ‖W_l‖_F, as measured and not as intended",
    "breakdown",
)
PERTURBATION_NORM = Variable(
    "perturbation_norm",
    CEL,
    "weight",
    "size of the perturbation",
    "‖ΔW_l‖_F, as measured and not as intended",
    "breakdown",
)
OUTPUT_CHANGE = Variable(
    "output_change", CEX, "1", "relative output change", "‖f̃(x) − f(x)‖ / ‖f(x)‖", "breakdown"
)
SLOPE_AT_ZERO = Variable("slope_at_zero", C, "loss", "slope at η = 0", "𝓛'(0) = Σ_l ⟨g_l, d_l⟩", "breakdown")
PERTURBATION_COSINE = Variable(
    "perturbation_cosine",
    CL,
    "1",
    "cosine of direction and descent",
    "cos θ_l between d_l and −g_l",
    "breakdown",
)
WEIGHT_NORM = Variable(
    "weight_norm", CL, "weight", "Frobenius norm", "‖W_l‖_F of the frozen W_l", "breakdown"
)
UPDATE_SIZE = Variable(
    "update_size",
    C,
    "1",
    "size of the real step",
    "the η at which the real step to the next checkpoint lies, with `--direction update`",
    "breakdown",
)

# Noise: what rounding alone does.
NOISE_FLOOR = Variable(
    "noise_floor", CL, "1", "noise floor", "what rounding alone does to `gradient_change`", "noise-floor"
)
OUTPUT_NOISE_FLOOR = Variable(
    "output_noise_floor",
    C,
    "1",
    "noise floor of outputs",
    "what rounding alone does to `output_change`",
    "noise-floor",
)
LOSS_NOISE_FLOOR = Variable(
    "loss_noise_floor",
    C,
    "1",
    "noise floor of the loss",
    "what rounding alone does to the loss, relative to it",
    "noise-floor",
)

# Singular values: Exact, by LAPACK in float64.
SPECTRAL_NORM = Variable("spectral_norm", CL, "weight", "spectral norm", "σ_max of the frozen W_l", "spectra")
CONDITION_NUMBER = Variable(
    "condition_number", CL, "1", "condition number", "κ(W_l), over all min(m, n) singular values", "spectra"
)
DIRECTION_SPECTRAL_NORM = Variable(
    "direction_spectral_norm", CL, "weight", "spectral norm of the direction", "σ_max of d_l", "spectra"
)
DIRECTION_CONDITION_NUMBER = Variable(
    "direction_condition_number",
    CL,
    "1",
    "condition number of the direction",
    "κ(d_l), which is κ(ΔW_l) at every η",
    "spectra",
)
GRADIENT_STABLE_RANK = Variable(
    "gradient_stable_rank",
    CL,
    "1",
    "stable rank of the gradient",
    "‖g_l‖_F² / ‖g_l‖₂² at η = 0: automatic gradient descent assumes 1",
    "spectra",
)
PERTURBED_CONDITION_NUMBER = Variable(
    "perturbed_condition_number",
    CEL,
    "1",
    "condition number under perturbation",
    "κ(W̃_l), with `--spectra slice`",
    "spectra",
)
PERTURBATION_SPECTRAL_NORM = Variable(
    "perturbation_spectral_norm",
    CEL,
    "weight",
    "spectral norm of the perturbation",
    "σ_max of ΔW_l, with `--direction adversarial`, whose ΔW_l is no multiple of one d_l",
    "spectra",
)
PERTURBATION_CONDITION_NUMBER = Variable(
    "perturbation_condition_number",
    CEL,
    "1",
    "condition number of the perturbation",
    "κ(ΔW_l), with `--direction adversarial`",
    "spectra",
)

# Jacobians: of the layers, with `--jacobian N`.
JACOBIAN_CHANGE = Variable(
    "jacobian_change",
    CELX,
    "1",
    "relative Jacobian change",
    "‖J̃ − J‖_F / ‖J‖_F, J the Jacobian of the outputs with respect to *the input of* layer l, "
    "all paths counted. For the first weight matrix of each module, and its first call; NaN where "
    "a module is never called (attention's `out_proj`), or its input is no floating tensor or has "
    "no row an example",
    "sensitivity",
)
GATE_CHANGE = Variable(
    "gate_change",
    CELX,
    "1",
    "change of the gates",
    "s_l = max_i |φ'(z̃_i) − φ'(z_i)| / |φ'(z_i)|, for perceptrons",
    "sensitivity",
)

# The bounds' ingredients: with `--ladder`.
OUTPUT_NORM = Variable("output_norm", CX, "output", "size of the output", "‖f(x)‖₂", "bounds")
INPUT_NORM = Variable("input_norm", CX, "input", "size of the input", "‖x‖₂", "bounds")
INPUT_MAX = Variable("input_max", CX, "input", "largest input", "‖x‖_∞", "bounds")
TARGET_NORM = Variable(
    "target_norm",
    CX,
    "output",
    "size of the target",
    "‖y‖₂ where the targets are as many numbers as the outputs",
    "bounds",
)
OUTPUT_DIFFERENCE_L1 = Variable(
    "output_difference_l1", CEX, "output", "ℓ1 output change", "‖f̃(x) − f(x)‖₁", "breakdown"
)
OPERATOR_NORM = Variable(
    "operator_norm",
    CL,
    "weight",
    "operator norm",
    "of W_l as a linear map: a matrix's largest singular value; a convolution's own norm on its "
    "input size, exact where the map is small and else an upper bound, never a lower estimate",
    "bounds",
)
DIRECTION_OPERATOR_NORM = Variable(
    "direction_operator_norm",
    CL,
    "weight",
    "operator norm of the direction",
    "of d_l as a linear map",
    "bounds",
)
PERTURBED_OPERATOR_NORM = Variable(
    "perturbed_operator_norm",
    CEL,
    "weight",
    "operator norm under perturbation",
    "of W̃_l as a linear map",
    "bounds",
)
PERTURBATION_OPERATOR_NORM = Variable(
    "perturbation_operator_norm",
    CEL,
    "weight",
    "operator norm of the perturbation",
    "of ΔW_l as a linear map (at most η‖d_l‖ and what rounding added)",
    "bounds",
)
PERTURBATION_RESPONSE = Variable(
    "perturbation_response",
    CELX,
    "output",
    "response to the perturbation",
    "‖ΔW_l h_{l−1}(x)‖; for a bias ‖Δb‖ times the root of the number of positions it is added at",
    "bounds",
)
LINEARISATION_ERROR = Variable(
    "linearisation_error", CEX, "output", "linearisation error", "‖f̃ − f − ∂_W f·ΔW‖₂", "bounds"
)
LINEARISATION_COSINE = Variable(
    "linearisation_cosine",
    CEX,
    "1",
    "cosine of remainder and residual",
    "of f̃ − f − ∂_W f·ΔW with the residual f − y",
    "bounds",
)
INPUT_RESPONSE = Variable(
    "input_response",
    CEX,
    "output",
    "response to the input",
    "‖f(x + Δx) − f(x)‖₂ for Δx of size η‖x‖ along the gradient of the example's loss",
    "bounds",
)
LOG10_PATH_NORM = Variable(
    "log10_path_norm", CE, "1", "log10 of the path norm", "log10 PN(W̃), for plain perceptrons", "bounds"
)
LOG10_PATH_DISTANCE = Variable(
    "log10_path_distance",
    CE,
    "1",
    "log10 of the path distance",
    "log10 of PN(W) + PN(W̃) − 2PN(m), m the midpoint, for plain perceptrons",
    "bounds",
)
LOG10_PATH_DIFFERENCE = Variable(
    "log10_path_difference",
    CE,
    "1",
    "log10 of the path difference",
    "log10 ‖Φ(W) − Φ(W̃)‖₁, where there are at most 100,000 paths",
    "bounds",
)

# Along the line: of the frozen network and its direction.
CURVATURE = Variable(
    "curvature",
    C,
    "loss",
    "curvature along the slice",
    "𝓛''(0) = dᵀHd by differentiating twice; NaN where PyTorch lacks a second derivative",
    "curvature",
)
STEP_LIMIT = Variable(
    "step_limit",
    C,
    "1",
    "measured step limit",
    "the smallest η > 0 with the loss back at its start, by root finding to 1 %; NaN where it had "
    "not returned at the largest η searched",
    "step-limit",
)
STEP_LIMIT_SEARCHED_TO = Variable(
    "step_limit_searched_to",
    C,
    "1",
    "largest η searched",
    "the largest η at which the search for `step_limit` knows the loss",
    "step-limit",
)
STEP_LIMIT_EVALUATIONS = Variable(
    "step_limit_evaluations",
    C,
    "evaluations",
    "evaluations of the search",
    "how many losses the search itself evaluated",
    "step-limit",
)
ADVERSARIAL_VALUE = Variable(
    "adversarial_value",
    CE,
    "1",
    "adversarial objective",
    "what `--direction adversarial` reached: with `--objective output` the mean relative output "
    "change of the sampled examples, with `breakdown` that of the first layer's gradient",
    "adversarial",
)

# Coordinates: what the numbers belong to.
ETA = Variable("eta", ("eta",), "1", "perturbation strength η", "the strength η of W + η d")
IS_WEIGHT = Variable(
    "is_weight",
    L,
    "1",
    "whether a weight matrix",
    "whether the tensor is a weight matrix: they alone count towards L",
)
KIND = Variable("kind", L, "", "kind of parameter", "what the tensor is (see *The parameters*)")
TREATMENT = Variable(
    "treatment", L, "", "treatment", "whether it moves, and if not why (see *The parameters*)"
)
ROWS = Variable("rows", L, "1", "rows", "of a weight as a matrix (out, everything else); 0 for others")
COLUMNS = Variable(
    "columns", L, "1", "columns", "of a weight as a matrix (out, everything else); 0 for others"
)
ACTIVATION = Variable(
    "activation", L, "", "activation", "the function that follows a weight matrix, where that is known"
)
OPERATOR = Variable(
    "operator",
    L,
    "",
    "linear map",
    "what a weight is as a linear map: `matrix`, `convolution`, `transposed convolution` or "
    "`unknown` (NaN); with `--ladder`",
    "bounds",
)
STEP = Variable("step", C, "1", "training step", "as the checkpoint says; NaN where it does not")
EPOCH = Variable("epoch", C, "1", "epoch", "as the checkpoint says; NaN where it does not")
TRAIN_ACCURACY = Variable(
    "train_accuracy", C, "1", "training accuracy", "as the checkpoint says; NaN where it does not"
)
WEIGHTS_HASH = Variable(
    "weights_hash", C, "", "hash of the weights", "SHA-256 of names and numbers, in short"
)

ALL: dict[str, Variable] = {
    str(value): value for value in list(globals().values()) if isinstance(value, Variable)
}
"""Every entry by its name, in the order of the documentation."""
