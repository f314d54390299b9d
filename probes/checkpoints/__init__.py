"""Checkpoint files, described and read without running what is in them, and the order in which they were written.

What belongs here turns bytes of any format into named tensors. It may import ``system`` and what is beneath that.
"""
