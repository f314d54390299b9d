"""Networks that others trained: what they are, what they are given, and where their packages carry their weights.

Packages are installed beside and never required: their files are found without importing them, and read by the readers
of ``probes.checkpoints``, which run nothing that is in a file. Two networks are built by code of others (transformers,
and EfficientNet's own package), which runs since the user installed it; all else is code of this room.

``python -m studies.others NAME`` writes a network's weights and its data, and says the ``probe run`` that takes them.
May be imported by studies; imports probes alone.
"""

from studies.others.catalogue import OTHERS, UNREAD, Other, Written, is_installed, write
from studies.others.networks import (
    crepe_full,
    crepe_tiny,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    face_o,
    face_r,
    minilm,
    speaker,
    stand_in,
    voice,
    watermark,
)

__all__ = [
    "OTHERS",
    "UNREAD",
    "Other",
    "Written",
    "crepe_full",
    "crepe_tiny",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "face_o",
    "face_r",
    "is_installed",
    "minilm",
    "speaker",
    "stand_in",
    "voice",
    "watermark",
    "write",
]
