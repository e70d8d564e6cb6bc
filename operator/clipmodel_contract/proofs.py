"""versions.json: what each config that a pod may have loaded must answer. The operator writes it, the startup probe in the pod reads it.

A pod's files refresh apart from each other, so the file holds a proof for every config that a pod may run: of what starts, of what was proven
last, and of what was proven before it. Which of them holds is said by the server itself: a loaded config carries its own id.
The code of this module (without docstrings and comments) is a part of the startup probe: `make probe` after a change of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from clipmodel_contract.golden import IMAGES, decode_vector
from clipmodel_contract.tensors import Tensors

# Triton hands parameters that it does not know to nobody, and tells them on request.
CONFIG_ID_PARAMETER: Final = "clipmodel.dev/config-id"
_DTYPE: Final = "float16"


class ProofsError(ValueError):
    """A text that is no versions.json, a config that is not one of ours, or proofs that prove nothing."""


class Proof(NamedTuple):
    """What one config must answer: the versions that it loads, by number, with their SHA-256, and the least cosine to their golden vectors."""

    min_cosine: float
    versions: Mapping[int, str]


class Proofs(NamedTuple):
    """A whole versions.json: proofs by config id, golden vectors (base64 of FP16, at least one) by SHA-256. `image_size` is in pixels."""

    model: str
    input_name: str
    output_name: str
    image_size: int
    proofs: Mapping[str, Proof]
    vectors: Mapping[str, Sequence[str]]


class LoadedConfig(NamedTuple):
    """What a server says of the config that it runs, as far as a proof looks. `max_batch_size` is 0 where batches are not possible."""

    config_id: str
    versions: frozenset[int]
    max_batch_size: int


def render_proofs(
    *,
    model: str,
    tensors: Tensors,
    proofs: Mapping[str, tuple[float, Mapping[int, str]]],
    vectors: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Render versions.json, ready for json.dumps.

    `proofs` has for each config id its least cosine and the SHA-256 of each version; `vectors` the golden vectors by SHA-256, of which those
    that a proof names are written. Raises ProofsError for what the probe would refuse.
    """
    named = sorted({sha256 for _, versions in proofs.values() for sha256 in versions.values()})
    content: dict[str, Any] = {
        "model": model,
        "input": tensors.input_name,
        "output": tensors.output_name,
        "imageSize": tensors.image_size,
        "proofs": {
            config_id: {"minCosine": min_cosine, "versions": {str(v): versions[v] for v in sorted(versions)}}
            for config_id, (min_cosine, versions) in sorted(proofs.items())
        },
        "golden": {
            sha256: {"images": IMAGES, "dtype": _DTYPE, "vectors": list(vectors[sha256])}
            for sha256 in named
            if sha256 in vectors
        },
    }
    _check(content)
    return content


def parse_proofs(text: str) -> Proofs:
    """Read versions.json. Raises ProofsError for what is none, or has a proof by which anything would be right."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProofsError(f"not a versions.json: {error!r}") from error
    return _check(content)


def read_loaded(config: Any) -> LoadedConfig:
    """Read the config that Triton says it runs (parsed JSON). Raises ProofsError for one that is not ours."""
    try:
        return LoadedConfig(
            config_id=str(config["parameters"][CONFIG_ID_PARAMETER]["string_value"]),
            # In protobuf's JSON a 64-bit number may be a text.
            versions=frozenset(int(v) for v in config["version_policy"]["specific"]["versions"]),
            max_batch_size=int(config.get("max_batch_size", 0)),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ProofsError(f"not a config of this operator: {error!r}") from error


def _check(content: Any) -> Proofs:
    try:
        return _read_proofs(content)
    except ProofsError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ProofsError(f"not a versions.json: {error!r}") from error


def _read_proofs(known: Mapping[str, Any]) -> Proofs:
    read = Proofs(
        model=str(known["model"]),
        input_name=str(known["input"]),
        output_name=str(known["output"]),
        image_size=int(known["imageSize"]),
        proofs={
            str(config_id): Proof(
                min_cosine=float(proof["minCosine"]),
                versions={int(version): str(sha256) for version, sha256 in proof["versions"].items()},
            )
            for config_id, proof in known["proofs"].items()
        },
        vectors={str(sha256): _read_vectors(golden, sha256) for sha256, golden in known["golden"].items()},
    )
    if not read.proofs:
        raise ProofsError("it names no version, so nothing can be proven")
    for config_id, proof in read.proofs.items():
        # NaN is below nothing: every embedding would be right.
        if not 0 < proof.min_cosine <= 1:
            raise ProofsError(f"the proof of config {config_id} asks for a cosine of {proof.min_cosine}")
        if not proof.versions:
            raise ProofsError(f"the proof of config {config_id} names no version, so nothing can be proven")
        for version, sha256 in proof.versions.items():
            if sha256 not in read.vectors:
                raise ProofsError(f"the proof of config {config_id} has no golden vectors of version {version}")
    return read


def _read_vectors(golden: Mapping[str, Any], sha256: str) -> tuple[str, ...]:
    if (golden["images"], golden["dtype"]) != (IMAGES, _DTYPE):
        raise ProofsError(f"golden vectors are {golden['dtype']} of {golden['images']}, expected {_DTYPE} of {IMAGES}")
    vectors = tuple(str(vector) for vector in golden["vectors"])
    if not vectors:
        raise ProofsError(f"there is no golden vector of {sha256}")
    for vector in vectors:
        decode_vector(vector)
    return vectors
