"""The residual structures: how the errors of a linear model vary, one file for each."""
