"""What a network computes, read off one watched forward pass: steps, fixed maps and their sizes, uses of each weight.

What belongs here is the reading; what is read is a :class:`trust.structure.Structure`. It may import what networks may.
"""

from probes.networks.structure.reading import BatchNorm, Reading, read_structure

__all__ = ["BatchNorm", "Reading", "read_structure"]
