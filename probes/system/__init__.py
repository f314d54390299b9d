"""The machine: files and their locks, memory maps, signals, processes that share a run, Python that the user names.

What belongs here knows nothing of networks, data or checkpoints. It may import :mod:`probes.errors` alone.
"""
