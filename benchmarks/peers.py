"""Packages that others wrote, which this project does not depend on: benchmarks/requirements.txt has their versions."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["CURVLINOPS", "LOSS_LANDSCAPES", "NOT_INSTALLED", "peer", "peers_versions"]

CURVLINOPS = "curvlinops-for-pytorch"
LOSS_LANDSCAPES = "loss-landscapes"
NOT_INSTALLED = "not installed"
_MODULES = {CURVLINOPS: "curvlinops", LOSS_LANDSCAPES: "loss_landscapes"}


def peer(package: str) -> Any | None:
    """The package's module; None where it is not installed."""
    return importlib.import_module(_MODULES[package]) if peers_versions()[package] != NOT_INSTALLED else None


def peers_versions() -> dict[str, str]:
    """Each peer's version, or that it is not installed."""
    found = {}
    for package in _MODULES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = NOT_INSTALLED
    return found
