"""Stage 2, tree to Model: names, shapes and types; every mistake is told at once."""
