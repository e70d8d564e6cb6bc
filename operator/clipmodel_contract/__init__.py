"""What the programs of this project must agree on, said once, in code: docs/spec/sync.md in the words that programs understand.

Each module is one idea, needs the standard library alone, and is functions and values: no files, no network, no clock. So every program
can import it (the sync image has no pydantic, the operator's no numpy), and Triton's own Python runs `control`, `golden` and `proofs` as parts of the startup probe.
Errors are subclasses of ValueError that each program turns into its own.
"""
