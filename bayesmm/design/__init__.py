"""From the columns of a table to the columns of a model: reading, evaluation, coding, checks."""
