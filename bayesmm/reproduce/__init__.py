"""Published results, computed anew: what was printed, what `maximize` gives, what the posterior says, the verdict.

`bayesmm.published` reads the files, and models/README.md says how to write one.
"""
