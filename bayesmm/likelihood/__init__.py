"""The marginal likelihood: NumPy and Numba, PyTensor for a user's own family, never PyMC.

The random effects are integrated out once. ``crossproducts`` reduces the data to the matrices that the likelihood
needs, ``gaussian`` evaluates it with its gradient.
"""
