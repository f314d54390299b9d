"""Tests of analysis: measurements with closed-form answers, and real slices of tiny networks."""
