"""Domain-free machinery: work queue, cache, backoff, clock. Knows nothing of CLIP, Triton or kopf."""
