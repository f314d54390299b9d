"""The monitor: what becomes of relative updates and step limits in somebody's own training, step by step.

What belongs here watches a loop that is not ours, and reads back what it wrote: the monitor, its updates, its cost, the
sinks, the log, the log's page, and an adapter a file for others' trainers. It measures with ``probes``, has the limits
from ``analysis`` and the pictures from ``figures``; the command imports it, and it neither the command nor a study.
"""
