"""The kernels, compiled and not: the same results, the same errors, and no byte read past an end."""
