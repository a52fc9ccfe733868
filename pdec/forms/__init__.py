"""What the stages hand on: symbols, statements, models, and how people read them."""
