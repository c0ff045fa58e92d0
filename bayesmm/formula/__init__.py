"""The language of formulas, in the order in which a text passes through it; `formula` is its public face.

`expressions` (records) < `tokens` < `functions` (the table of calls) < `cursor` < `parser` (the tree) < `expansion`
(terms) < `grouping` (group terms). Standard library only; nothing here evaluates anything.
"""
