"""How well a model predicts, and what its evidence is: cross-validation, bridge sampling, comparison of models."""
