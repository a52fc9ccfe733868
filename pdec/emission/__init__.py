"""Stage 8, Derivation to the text of a module: mathematics, tables, verdict."""
