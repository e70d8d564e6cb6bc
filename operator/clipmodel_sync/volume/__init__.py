"""How bytes become a version directory that is complete and verified, or not there, whatever is killed when.

Paths are clipmodel_contract.volume_layout's, the reasons docs/spec/sync.md's. Everything new is made below `staging/`, flushed to the disk, and
moved into place by one `rename(2)`; the state file comes last, so that what it says is true.
"""
