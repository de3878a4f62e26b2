"""Every kernel again in plain NumPy: the specification of the native code, one module an area."""
