"""One pass per key: gather, render, apply, prune, verify, assess, report. Reads top to bottom."""
