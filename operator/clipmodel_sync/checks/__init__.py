"""Whether a file is a model that can serve: its structure without its weights, its tensors, and its embeddings of the golden images."""
