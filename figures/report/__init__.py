"""How a report looks: its figures, and its page in Markdown.

What belongs here arranges what it is given, findings of one or more networks; what they say is not decided here. It
may import the rest of ``figures``.
"""
