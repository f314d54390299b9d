"""Studies: experiments that train, measure, judge and draw, a small file each; Figure 1 is the first.

What belongs here needs all four packages, which know nothing of it: ``trust``, ``probes`` (without its command),
``analysis`` and ``figures``: experiments, and ``show``, which draws each figure from measurements in one call. What
they share is in ``frame`` (how a study runs) and ``parts`` (what it trains, follows and computes); ``others`` reads
networks that others trained. The command imports the studies, never the other way.
"""
