"""A frozen network on all of its data: loss, outputs and gradients in chunks, and the same at W + η d.

What belongs here evaluates networks and leaves them as they were. It may import ``data`` and what is beneath that.
"""
