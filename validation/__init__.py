"""What shows that the package's numbers are right: `make validate` runs it and writes docs/validation.md.

Each section is a file: its `cells()` names what there is to check, and `check(cell, settings)` does it and returns a
`Finding`. `run` calls them in processes of their own, `store` keeps what they found, `page` writes the page of it.
"""
