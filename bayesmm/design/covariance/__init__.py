"""Covariance structures of random effects: one file each, and `structures`, the register that finds them by name."""
