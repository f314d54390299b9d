"""Examples and losses: batches of any form, rows that stay in their files, the data sets that have names.

What belongs here turns data into batches and outputs into losses. It may import ``checkpoints`` (whose files can hold
data as well) and what is beneath that.
"""
