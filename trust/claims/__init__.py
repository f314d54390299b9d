"""Claims: what can be tested, its source, its premises, and both of its sides as functions of the measurements.

* what a claim is: Claim, Kind, Premise, Quantity (labelled measurements to labelled numbers); all_claims, the registry
* premises to build on: CHAIN, NO_BIASES, TRANSMISSION, INJECTIVE, LIPSCHITZ, NONEXPANSIVE, ZERO_AT_ZERO, RELU,
  LINEAR, SMALL_RHO; LAYERS (as CHAIN, with convolutions and pooling)
* quantities to build sides from, all in log10: output_change, output_change_allowance, log10; weights (the weight
  matrices alone) and perturbed (without η = 0) choose from the measurements
* a claim's form, so that counterexamples are searched along gradients: Form, Condition, Trial

Each module of this package may hold claims; other distributions add theirs through the entry-point group
``trust.claims``, whose entries name a :class:`Claim` or a list of them. Nothing else is needed. A bound of one's own:

>>> from trust.claims import CHAIN, Claim, all_claims, log10, output_change, perturbed, weights
>>> def hundredfold(measurements):
...     return log10(100 * perturbed(weights(measurements))["relative_perturbation"].sum("layer"))
>>> mine = Claim(
...     id="hundredfold",
...     source="an example",
...     statement="‖f̃(x) − f(x)‖ / ‖f(x)‖ ≤ 100 Σ_k r_k",
...     left="relative output change",
...     measured=output_change,
...     bound=hundredfold,
...     premises=(CHAIN,),
...     needs=("output_change",),
... )

Both of its sides are functions of labelled measurements:

>>> import xarray as xr
>>> layer = {"layer": ["0.weight", "0.bias", "1.weight"], "is_weight": ("layer", [True, False, True])}
>>> run = xr.Dataset(
...     {"relative_perturbation": (("checkpoint", "eta", "layer"), [[[0.0, 0.0, 0.0], [0.01, 0.2, 0.01]]])},
...     {"checkpoint": ["last"], "eta": [0.0, 0.01], **layer},
... )
>>> mine.bound(run).round(4).values  # log10 of 100 · (0.01 + 0.01)
array([[0.301]])

``probe report --claim mine.py:mine`` and :func:`analysis.judge` take it as they take ours:

>>> list(all_claims())[:3]
['theorem1-function', 'theorem1-function-injective', 'theorem1-function-layerwise']
"""

from trust.claims.claim import Claim, Kind, Measurements, Premise, Quantity
from trust.claims.forms.trial import Condition, Form, Trial
from trust.claims.premises import (
    CHAIN,
    INJECTIVE,
    LAYERS,
    LINEAR,
    LIPSCHITZ,
    NO_BIASES,
    NONEXPANSIVE,
    RELU,
    SMALL_RHO,
    TRANSMISSION,
    ZERO_AT_ZERO,
)
from trust.claims.quantities import log10, output_change, output_change_allowance, perturbed, weights
from trust.claims.registry import all_claims, claims_of

__all__ = [
    "CHAIN",
    "INJECTIVE",
    "LAYERS",
    "LINEAR",
    "LIPSCHITZ",
    "NONEXPANSIVE",
    "NO_BIASES",
    "RELU",
    "SMALL_RHO",
    "TRANSMISSION",
    "ZERO_AT_ZERO",
    "Claim",
    "Condition",
    "Form",
    "Kind",
    "Measurements",
    "Premise",
    "Quantity",
    "Trial",
    "all_claims",
    "claims_of",
    "log10",
    "output_change",
    "output_change_allowance",
    "perturbed",
    "weights",
]
