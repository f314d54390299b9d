"""What studies are made of: networks and tasks that they train, what they follow and compute, and how they conclude.

It imports the frame and the four packages below, and no study.
"""
