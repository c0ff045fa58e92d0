"""What the exponential of a difference of linear predictors is."""

from types import MappingProxyType

# link -> the words; with other links it is nothing that has a name
RATIOS = MappingProxyType({"log": "ratio of means", "logit": "odds ratio"})
