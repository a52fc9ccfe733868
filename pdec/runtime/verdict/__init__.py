"""The verdict on ω: what a module knows of the growth of its steps."""
