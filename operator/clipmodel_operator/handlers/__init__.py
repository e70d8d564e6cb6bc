"""kopf lives here and only here: watch events become cache entries and keys in the queue. Nothing is decided."""
