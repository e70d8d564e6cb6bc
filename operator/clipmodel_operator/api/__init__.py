"""The resource, version by version."""
