"""Variance explained: intraclass correlations and R^2."""
