"""Networks: those of ours, those recovered from a checkpoint's tensors, and whether data fits them.

What belongs here makes the module that is probed. It may import ``evaluation`` and what is beneath that.
"""
