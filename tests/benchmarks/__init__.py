"""Tests of the benchmarks: that they compare the same numbers, and that what they find can be shown."""
