"""The command ``probe``: options in, one call into the packages, tables or one JSON document out.

What belongs here talks to the user. It alone, of the rooms of ``probes``, may import ``analysis``, ``figures`` and
``studies``.
"""
