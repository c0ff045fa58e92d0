"""Families of responses: their links, parameters and moments, and what a response may be."""
