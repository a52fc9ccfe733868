"""Moments of convolution kernels: exact where SymPy finds them, else by quadrature."""
