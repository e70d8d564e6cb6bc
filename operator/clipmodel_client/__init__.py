"""The user-facing helper: from a photograph to an embedding served by Triton.

    from clipmodel_client.embed import Embedder, normalise
    from clipmodel_client.preprocess import load

    with Embedder("localhost:8001", model="openclip_vit_b32") as embedder:
        vectors = normalise(embedder.embed([load("cat.jpg"), load("coffee.jpg")]))

It needs the extra `client` (numpy, Pillow, tritonclient). Nothing of it is imported before it is used, so
that `--help` stays fast.
"""
