"""How things look wherever they are shown: text tables, HTML tables and pieces of figures."""
