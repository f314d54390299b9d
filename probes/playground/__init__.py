"""A page to touch: a small network of the plane, trained and perturbed live, measured by the same code as ever.

What belongs here turns what a browser asks into calls of the rooms below, and what they measure into frames that it
draws; there is no mathematics of its own. It may import all rooms but the command. It needs the extra [playground].
"""
