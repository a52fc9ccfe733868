"""What runs the steps of the CuPy target: kernels, or array operations."""
