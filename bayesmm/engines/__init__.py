"""What the engine that holds the rows computes: levels, means and cross-products, by lazy expressions of narwhals."""
