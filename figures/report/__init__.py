"""How a report looks: its figures, and its page, in HTML and in Markdown, made of the same blocks.

What belongs here arranges what it is given, findings of one or more networks; what they say is not decided here. It
may import the rest of ``figures``.
"""
