"""What is measured on a slice, one file for each measure.

What belongs here computes variables of :mod:`trust.measurements`, at the frozen weights or at each η. It may import
``networks`` and what is beneath that.
"""
