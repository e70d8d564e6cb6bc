"""Each pod proves itself to the operator: the golden check, once per run of a pod, from outside of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from clipmodel_operator.assessment.pods import config_hash, incarnation, is_running
from clipmodel_operator.models import golden
from clipmodel_operator.models.clipmodel import ClipModel, Tensors
from clipmodel_operator.models.errors import RetryError
from clipmodel_operator.models.facts import GoldenResult, PodCheck
from clipmodel_operator.models.records import VersionRecord

Proof = tuple[tuple[str, ...], str]


class Embedder(Protocol):
    """What embeds golden images on one pod."""

    async def embed_golden(
        self, address: str, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        """Give the embedding, or raise RetryError."""
        ...


class Verifier:
    """Remembers which runs of which pods have proven which config. After a restart of the operator each pod is asked once more."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._proven: dict[str, dict[Proof, GoldenResult]] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a ClipModel."""
        self._proven.pop(uid, None)

    async def check_pods(
        self,
        model: ClipModel,
        pods: Sequence[Mapping[str, Any]],
        *,
        records: Sequence[VersionRecord],
        committed_hash: str,
    ) -> tuple[PodCheck, ...]:
        """Check the pods that run on the committed config and have not proven it yet.

        A pod that has not become ready is asked as well: a wrong embedding is why its startup probe fails, and nobody else would say so.
        """
        known = self._proven.setdefault(model.uid, {})
        seen: dict[Proof, GoldenResult] = {}
        checks = []
        for pod in pods:
            is_current = config_hash(pod) == committed_hash
            proof = (incarnation(pod), committed_hash)
            result = known.get(proof)
            if result is None and is_current and is_running(pod):
                result = await self._check(model, str(pod["status"]["podIP"]), records)
            if result is not None:
                seen[proof] = result
            checks.append(PodCheck(pod=pod, is_current=is_current, result=result if is_current else None))
        # Only a success stands: a difference is asked for again at the next pass, and heals when the pod does.
        self._proven[model.uid] = {p: r for p, r in seen.items() if r.difference is None}
        return tuple(checks)

    async def _check(self, model: ClipModel, address: str, records: Sequence[VersionRecord]) -> GoldenResult | None:
        """Compare every version's golden embeddings; None where the pod does not answer yet."""
        for record in records:
            for index, vector in enumerate(record.vectors):
                try:
                    served = await self._embedder.embed_golden(
                        address, model=model.model_name, version=record.version, tensors=model.tensors, index=index
                    )
                except RetryError:
                    return None
                difference = golden.difference(served, golden.decode_vector(vector))
                if difference is not None:
                    return GoldenResult(f"version {record.version}, golden image {index}: {difference}")
        # An empty list of checks proves nothing.
        return GoldenResult(None) if records else None
