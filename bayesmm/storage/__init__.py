"""Fits in files and folders: written whole or not at all, every byte checked when they are read."""
