"""Benchmarks: how long things take, beside a peer in the same run. ``measure`` writes JSON, ``report`` reads it.

These machines are noisy, so alternatives alternate, and what counts is the ratio of their times, with its spread.
"""
