"""Marginal quantities: predictions over grids, average comparisons and slopes, estimated marginal means.

All are averages of predictions, sum_i w_i g^-1(x_i beta + ...), or differences and ratios of such averages, from every
posterior draw or at the estimates of a maximised model. The words are those of the R packages marginaleffects
(Arel-Bundock, Greifer & Heiss 2024, J Stat Softw 111(9)) and emmeans (Lenth).
"""
