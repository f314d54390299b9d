"""Tests of the probes: what is measured, what is read from outside, and what is kept."""
