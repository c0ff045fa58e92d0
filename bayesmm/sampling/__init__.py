"""NUTS and importance sampling: from a model to draws, and from draws to the full posterior."""
