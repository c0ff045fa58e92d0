"""Published results, computed anew: what was printed, what `maximize` gives, what the posterior says, the verdict.

`bayesmm.cli.reproduce.published` reads the files, and models/README.md says how to write one.
"""
