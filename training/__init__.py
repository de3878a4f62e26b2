"""Tools that make the embedded depth network: procedural pictures with exact depth, training, export.

Not part of the installed package: run from a checkout as `python -m training.NAME`.
"""
