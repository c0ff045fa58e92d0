"""The model as PyMC graphs."""
