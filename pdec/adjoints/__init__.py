"""Stage 5, Program to adjoints and tangents, of solved equations too."""
