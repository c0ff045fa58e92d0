"""Predictions for old and new groups, from a posterior or a maximised model."""
