"""Estimates: REML, ML, Laplace's approximation, quadrature and the MAP; where searches start, and how they end."""
