"""How long does it take, beside the same by hand? `python -m bench apply|live|scale`; docs/benchmarks.md says what is compared with what."""
