"""Runs: many checkpoints into one folder, continued where they stopped, and the training that makes checkpoints.

What belongs here reads sources and keeps results. It may import ``slices`` and what is beneath that.
"""
