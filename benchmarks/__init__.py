"""Side-by-side runs of bayesmm and of other libraries on the same models: see README.md in this folder."""
