"""The commands, a file each, named as the user calls them.

What belongs here is one command: its options, the call that does the work, and what it prints. All are imported when
``probe`` starts, so heavy libraries are imported inside the functions.
"""
