"""The verbs of the command line, one module a verb or a few small ones. Only here and in `cli` is anything printed."""
