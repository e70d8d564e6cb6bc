"""The running operator: composition, watches, loops."""
