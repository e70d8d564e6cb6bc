"""ClipModel v1alpha1: its types, its schema, and how one is read."""
