"""Revisions: from a spec and the records of its versions, and as JSON in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipmodel_contract.proofs import CONFIG_ID_PARAMETER
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.api.v1alpha1.spec import SERVED_PROFILES
from clipmodel_operator.models.revision import Config, Revision
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_pbtxt import config_id, hash_config, render_config


class RevisionError(ValueError):
    """The JSON is no revision of ours."""


def render_revision(model: ClipModel, digests: Mapping[int, str]) -> Revision:
    """Render the revision that serves these versions by the current spec. There must be one."""
    versions = sorted(digests)
    configs = {p.value: render_config(model, versions=versions, profile=p) for p in SERVED_PROFILES}
    return build_revision(configs, digests, min_cosine=model.spec.verification.min_cosine)


def build_revision(configs: Mapping[str, Config], digests: Mapping[int, str], *, min_cosine: float) -> Revision:
    """Put a revision together from its configs as they are."""
    ids = {profile: config_id(config) for profile, config in configs.items()}
    listed = [[version, digests[version]] for version in sorted(digests)]
    return Revision(
        id=content_hash([sorted(ids.items()), listed, min_cosine]),
        settings=content_hash([sorted((p, content_hash(_settings(c))) for p, c in configs.items()), min_cosine]),
        configs=configs,
        config_ids=ids,
        digests=dict(digests),
        min_cosine=min_cosine,
    )


def _settings(config: Config) -> dict[str, Any]:
    """Leave out of a config which versions it loads, and its own hash, which is of them too."""
    parameters = {k: v for k, v in config.get("parameters", {}).items() if k != CONFIG_ID_PARAMETER}
    return {**{k: v for k, v in config.items() if k != "version_policy"}, "parameters": parameters}


def candidate_config(config: Config, name: str) -> dict[str, Any]:
    """Give a config under the candidate's name: the same in all else, so that what is proven is what is loaded afterwards."""
    return {**config, "name": name}


def config_of_version(config: Config, version: int) -> dict[str, Any]:
    """Give the config that loads one version alone, with a hash of its own."""
    alone = {**config, "version_policy": {"specific": {"versions": [version]}}}
    identity = {CONFIG_ID_PARAMETER: {"string_value": hash_config(alone)}}
    return {**alone, "parameters": {**config.get("parameters", {}), **identity}}


def revision_to_json(revision: Revision) -> dict[str, Any]:
    return {
        "id": revision.id,
        "configs": dict(revision.configs),
        "digests": {str(v): revision.digests[v] for v in revision.versions},
        "minCosine": revision.min_cosine,
    }


def read_revision(stored: Any) -> Revision:
    """Read a revision. Raises RevisionError for one that is not as it was written."""
    try:
        configs: dict[str, Config] = {str(p): dict(c) for p, c in stored["configs"].items()}
        digests = {int(v): str(sha256) for v, sha256 in stored["digests"].items()}
        revision = build_revision(configs, digests, min_cosine=float(stored["minCosine"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RevisionError(f"not a revision: {error!r}") from error
    check_configs(configs, revision.versions)
    if revision.id != stored.get("id"):
        raise RevisionError("the revision is not as it was written")
    return revision


def check_configs(configs: Mapping[str, Config], versions: Sequence[int]) -> None:
    """Raise RevisionError for a config that is not as it was written, or is of other versions, and where there is none."""
    for profile, config in configs.items():
        try:
            is_whole = config_id(config) == hash_config(config)
            is_of_versions = list(config["version_policy"]["specific"]["versions"]) == list(versions)
        except (KeyError, TypeError) as error:
            raise RevisionError(f"the config of profile {profile} is none of ours") from error
        if not is_whole or not is_of_versions:
            raise RevisionError(f"the config of profile {profile} is not as it was written")
    if not configs or not versions:
        raise RevisionError("a revision has a config and a version")
