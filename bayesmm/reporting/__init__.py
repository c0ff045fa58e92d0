"""The report of one or more fits as a single HTML file, and what notebooks show of the results."""
