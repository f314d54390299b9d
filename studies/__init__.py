"""Studies: experiments that train, measure, judge and draw, a small file each; Figure 1 is the first.

What belongs here needs all four packages, which know nothing of it: ``trust``, ``probes`` (without its command),
``analysis`` and ``figures``: experiments, and ``show``, which draws each figure from measurements in one call. The
command imports the studies, never the other way.
"""
