"""Frequentist inference from a maximised fit: F tests, likelihood ratios, degrees of freedom, intervals.

Every function reads the `Estimates` of a maximised fit and changes nothing in it.
"""
