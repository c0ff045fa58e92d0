"""Frequentist inference from a maximised fit: F tests, likelihood ratios, degrees of freedom, intervals.

Every function reads a `PointFit` and changes nothing in it.
"""
