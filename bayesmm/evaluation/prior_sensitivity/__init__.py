"""What the priors say and do: prior predictive checks, power scaling, overlap with the posterior."""
