"""Data as a model would give them: simulation from parameters, the posterior predictive, the bootstrap, power.

Everything here draws with NumPy's generators, a stream of the seed for each data set: the k-th data set of a seed is
the same however many are drawn, and on however many processors.
"""
