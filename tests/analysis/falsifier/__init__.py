"""Tests of the falsifier: its arithmetics, its claims as forms, its search and its witnesses."""
