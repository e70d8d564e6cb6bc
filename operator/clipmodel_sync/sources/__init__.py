"""Where the bytes come from: one module for each kind of source.

Whether they are the wanted bytes is not asked here: the digest says so.
"""
