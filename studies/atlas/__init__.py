"""The study ``atlas``: its runs, where losses give way as weights are changed level by level, and what it concludes."""

from __future__ import annotations

from studies.atlas.study import Atlas

__all__ = ["Atlas"]
