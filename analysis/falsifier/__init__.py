"""The falsifier: small networks that satisfy a claim's premises, searched for one at which the claim fails.

* falsify: the search as a whole
* starts, search: structured starting points; gradient ascent and scipy's optimisers in float64
* floats, exact, intervals: the arithmetics in which a claim is evaluated
* certify, shrink: exact certificates, and short ones
* witness: counterexamples as JSON documents, and their replay
* generic: claims that are known by their two sides on measurements alone
"""

from analysis.falsifier.certify import Certificate
from analysis.falsifier.falsify import Outcome, falsify
from analysis.falsifier.generic import UnsupportedError
from analysis.falsifier.witness import Replay, WitnessError, replay, to_json

__all__ = [
    "Certificate",
    "Outcome",
    "Replay",
    "UnsupportedError",
    "WitnessError",
    "falsify",
    "replay",
    "to_json",
]
