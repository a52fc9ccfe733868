"""What runs the steps of the NumPy target: tiles of samples."""
