"""Solvers of the gradient flow ẇ = −∇𝓛(w), as optimizers: what gradient descent with steps that are too large leaves.

A step follows the flow for the time ``lr``. Both need gradients of the full batch, and a closure that finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from probes.errors import InputError

if TYPE_CHECKING:
    from probes.evaluation.evaluator import Evaluator

__all__ = ["ExponentialEuler", "GradientFlow", "exponential_step"]

_TOLERANCE = 1e-6
"""Error of a Runge-Kutta step, relative to a weight and in absolute terms: float32 cannot tell much less."""


class _Flow(Optimizer):
    """Weights as one vector."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.parameters = [parameter for group in self.param_groups for parameter in group["params"]]

    def _weights(self) -> Tensor:
        return torch.cat([parameter.detach().double().flatten() for parameter in self.parameters])

    @torch.no_grad()
    def _move(self, weights: Tensor) -> None:
        lengths = [parameter.numel() for parameter in self.parameters]
        for parameter, part in zip(self.parameters, torch.split(weights, lengths), strict=True):
            parameter.copy_(part.view_as(parameter))

    def _gradient(self) -> Tensor:
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.parameters]
        return torch.cat([gradient.double().flatten() for gradient in found])


class GradientFlow(_Flow):
    """Runge-Kutta steps of order 4 and 5 (scipy's RK45) of such lengths that the error stays below 1e-6.

    Attributes:
        evaluations: how many gradients were taken so far.
    """

    evaluations = 0

    def step(self, closure: Any = None) -> Any:
        """Follow the flow for the time ``lr``.

        Args:
            closure: evaluates the loss and its gradients at the weights as they are then.

        Raises:
            InputError: the solver fails, as it does where the loss is no number.
        """
        time = float(self.param_groups[0]["lr"])
        start = self._weights()

        def downhill(_: float, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            self._move(torch.from_numpy(weights))
            self.evaluations += 1
            with torch.enable_grad():
                closure()
            found: npt.NDArray[np.float64] = -self._gradient().numpy()
            if not np.isfinite(found).all():
                raise InputError("flow: a gradient on its way is not finite; lower `lr`")
            return found

        solved = solve_ivp(
            downhill, (0.0, time), start.numpy(), rtol=_TOLERANCE, atol=_TOLERANCE, t_eval=[time]
        )
        if not solved.success:
            raise InputError(f"flow: the solver gave up ({solved.message}); lower `lr`")
        self._move(torch.from_numpy(solved.y[:, -1]))


def exponential_step(gradient: Tensor, *, step: float, values: Tensor, vectors: Tensor) -> Tensor:
    """−h φ₁(−hH) g, where a gradient flow of the quadratic 𝓛 + gᵀd + ½ dᵀHd is after the time h.

    φ₁(z) = (e^z − 1)/z. Exact along the eigenvectors that are given, and a plain step −h g across them, which is H = 0
    there.

    Args:
        gradient: g (n,).
        step: h.
        values: eigenvalues of H (k,), of any sign.
        vectors: their eigenvectors (n, k), orthonormal.
    """
    z = -step * values
    factor = torch.where(
        z == 0, torch.ones_like(z), torch.expm1(z) / torch.where(z == 0, torch.ones_like(z), z)
    )
    along = vectors.T @ gradient
    return -step * (gradient + vectors @ ((factor - 1) * along))


class ExponentialEuler(_Flow):
    """w ← w − h φ₁(−hH) g with the top eigenpairs of the Hessian at each step's start.

    The step h need not be small against 2/λ: along the top eigenvectors it is as long as the flow's own. The solver of
    Lowell and Kastner (arXiv 2406.00127).
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, *, eigenpairs: int, evaluator: Evaluator
    ) -> None:
        """Take the number of eigenpairs, and the network on its data, with the very tensors that are trained.

        Raises:
            InputError: PyTorch cannot differentiate the network twice.
        """
        from probes.evaluation.curvature import HessianOperator

        super().__init__(params, lr)
        self.count, self.operator = eigenpairs, HessianOperator(evaluator)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Follow the flow for the time ``lr``; gradients at its start are there already."""
        from probes.evaluation.curvature import eigenpairs

        state: dict[str, Any] = self.state[
            self.parameters[0]
        ]  # kept with the training, which may be interrupted
        found = eigenpairs(self.operator, self.count, start=state.get("vectors"))
        kept = state["vectors"] = found.vectors
        values = torch.as_tensor(found.values, dtype=torch.float64)
        if not bool(torch.isfinite(values).all()):
            raise InputError("exponential-euler: curvature on its way is not finite; lower `lr`")
        time = float(self.param_groups[0]["lr"])
        move = exponential_step(self._gradient(), step=time, values=values, vectors=kept.double())
        self._move(self._weights() + move)
