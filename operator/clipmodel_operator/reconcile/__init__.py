"""One pass per key: gather, look at the pods, plan, apply, prune, report, roll out."""
