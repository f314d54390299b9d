"""Optimisers whose steps are relative to what they move; this room alone in `trust` needs torch.

* Fromage: each tensor's step relative to its norm (deep relative trust)
* Nero: each neuron's weights turn on a sphere, balanced after every step
* Madam: each weight is multiplied, so that none changes its sign
* AGD: automatic gradient descent, whose step follows from depth, widths and gradients
* half_lemma2_cosine, half_lemma2_schedule: Fromage's η from half of Lemma 2's limit down to zero
* MeasuredLimit: Fromage's η from the step limit that is measured on the way

The mathematics of a step is a function of tensors beside each. All take dense gradients of any floating-point
precision, compute in float32 at least, and go on identically from a saved state.
"""

from trust.optim.agd import AGD, agd_initialisation_
from trust.optim.fromage import Fromage
from trust.optim.madam import Madam, madam_step
from trust.optim.measured_limit import MeasuredLimit
from trust.optim.nero import Nero, balanced, nero_step
from trust.optim.schedules import half_lemma2_cosine, half_lemma2_schedule, weight_count

__all__ = [
    "AGD",
    "Fromage",
    "Madam",
    "MeasuredLimit",
    "Nero",
    "agd_initialisation_",
    "balanced",
    "half_lemma2_cosine",
    "half_lemma2_schedule",
    "madam_step",
    "nero_step",
    "weight_count",
]
