"""The edge: Kubernetes and Triton. What they raise becomes an error of ours here, once, with the original chained."""
