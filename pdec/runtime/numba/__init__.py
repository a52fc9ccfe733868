"""What runs the steps of the Numba target: compiled loops on a few samples."""
