"""What a model promises, measured: orders of convergence and gradients."""
