"""How far two clouds of points are from each other, as their Gaussians: the score of images that are made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["frechet_distance", "frechet_distance_of"]

Floats = npt.NDArray[np.float64]


def frechet_distance(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """‖μ − ν‖² + tr(A + B − 2 (A^½ B A^½)^½), the squared Fréchet (2-Wasserstein) distance of two Gaussians.

    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982; squared, as Heusel et
    al. (arXiv 1706.08500) score images by it.

    Args:
        mean: μ (d,).
        covariance: A (d, d), symmetric and without negative eigenvalues.
        other_mean: ν.
        other_covariance: B.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ other_covariance @ root).clip(0)).sum()
    apart = ((mean - other_mean) ** 2).sum()
    return float(max(0.0, apart + np.trace(covariance) + np.trace(other_covariance) - 2 * common))


def frechet_distance_of(points: npt.ArrayLike, others: npt.ArrayLike) -> float:
    """Of the Gaussians of two clouds (n, d) and (m, d), of two points at least; infinite where one is not finite."""
    clouds = [np.asarray(cloud, dtype=np.float64) for cloud in (points, others)]
    if not all(np.isfinite(cloud).all() for cloud in clouds):
        return np.inf
    (mean, covariance), (other_mean, other_covariance) = (
        (cloud.mean(0), np.atleast_2d(np.cov(cloud, rowvar=False))) for cloud in clouds
    )
    return frechet_distance(mean, covariance, other_mean, other_covariance)
