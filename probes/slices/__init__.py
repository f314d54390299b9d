"""The slice: the loop over η that feeds the measures, its grid, and the dataset that comes out.

What belongs here is about one checkpoint. It may import ``measures`` and what is beneath that.
"""
