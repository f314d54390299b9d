"""The studies by name, with the question that each answers; nothing heavy is imported to list them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STUDIES", "Entry"]


@dataclass(frozen=True)
class Entry:
    """A study of ours.

    Attributes:
        place: ``module:class``.
        question: in a line.
    """

    place: str
    question: str


STUDIES = {
    "figure1": Entry(
        "studies.figure1:Figure1",
        "Along slices, how far is deep relative trust from the loss and the breakdown (Figure 1)?",
    ),
    "depth": Entry(
        "studies.depth:Depth",
        "How deep a perceptron can SGD, Adam and Fromage train, and what do step limits say of it?",
    ),
    "norms": Entry(
        "studies.norms:Norms",
        "What does Fromage's factor do to the norms, what do small steps cost, and is it LARS with decay?",
    ),
    "fixed-point": Entry(
        "studies.fixed_point:FixedPoint",
        "Fromage's only fixed point is zero: do its iterates converge, oscillate or shrink?",
    ),
    "constant": Entry(
        "studies.constant:Constant",
        "What is the dropped constant made of, and do norms, residuals or the optimiser reduce it?",
    ),
    "euclidean": Entry(
        "studies.euclidean:Euclidean",
        "Do trainable deep networks violate Euclidean smoothness, and which model predicts the slice?",
    ),
    "theorem1": Entry("studies.theorem1:Theorem1", "Where does Theorem 1 say something, and what spoils it?"),
    "optimisers": Entry(
        "studies.optimisers:Optimisers",
        "How far, which way and how well do optimisers step, in the units of deep relative trust?",
    ),
    "learning-rates": Entry(
        "studies.learning_rates:LearningRates",
        "Does one rate serve every task, by SGD, Adam, LARS, LAMB and Fromage (Figure 4)?",
    ),
    "alignment": Entry(
        "studies.alignment:Alignment",
        "Do layers' Jacobians align as sharpness rises, what has that to do with a bound's slack, and is it a power of"
        " the number of examples?",
    ),
    "edge-of-stability": Entry(
        "studies.edge_of_stability:EdgeOfStability",
        "Does full-batch training hold the sharpness at the threshold of its optimiser?",
    ),
    "stochastic-edge": Entry(
        "studies.stochastic_edge:StochasticEdge",
        "Which curvature do small batches hold at 2/η, and how much do they slow sharpening?",
    ),
    "lyapunov": Entry(
        "studies.lyapunov:Lyapunov",
        "Do finite-time Lyapunov exponents early in training predict the loss it ends with?",
    ),
    "lipschitz": Entry(
        "studies.lipschitz:Lipschitz",
        "How loose is a certified Lipschitz bound, and what does holding singular values in training do to it?",
    ),
    "perturbed-function": Entry(
        "studies.perturbed_function:PerturbedFunction",
        "How do functions and images change under layerwise noise, and does deep relative trust tell?",
    ),
    "limit-echo": Entry(
        "studies.limit_echo:LimitEcho",
        "Is the measured step limit an echo of the step in use, and what comes of stepping by it?",
    ),
    "network-specific-rate": Entry(
        "studies.network_specific_rate:NetworkSpecificRate",
        "How near does Lemma 2's limit, which knows the depth alone, come to a rate that was searched for?",
    ),
    "atlas": Entry(
        "studies.atlas:Atlas",
        "Do networks that others trained look like the paper's, and what tells beforehand how many bits, weights or"
        " how much noise they can do without?",
    ),
}
