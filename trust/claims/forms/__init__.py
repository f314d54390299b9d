"""Forms: claims on one small network, written for any arithmetic, so that the falsifier can search and certify.

What belongs here is what a form is (``trial``) and our claims' forms, a file for each file of claims. It imports
nothing of ours.
"""
