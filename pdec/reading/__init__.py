"""Stage 1, text to tree: lines, grammar, nodes, and what to say of mistakes."""
