"""Values that rooms hand on, names, and errors: no input or output."""
