"""Every condition type and reason that status can hold, in one place. docs/spec/clipmodel.md explains each to users; a test compares."""

from __future__ import annotations

# Condition types (kstatus: Reconciling and Stalled are there only while True).
READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
SYNCED = "Synced"
VERIFIED = "Verified"
AVAILABLE = "Available"
#: Only while spec.paused is true; its reason has the same name.
PAUSED = "Paused"

CONDITION_TYPES = frozenset({READY, RECONCILING, STALLED, SYNCED, VERIFIED, AVAILABLE, PAUSED})

# Ready, Available, Verified, Synced when all is well.
SERVING = "Serving"
VERSION_SYNCED = "VersionSynced"
GOLDEN_CHECK_PASSED = "GoldenCheckPassed"
PODS_READY = "PodsReady"

# On the way.
PROGRESSING = "Progressing"
PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
SYNC_PENDING = "SyncPending"
SYNCING = "Syncing"
GOLDEN_CHECK_PENDING = "GoldenCheckPending"
PODS_NOT_READY = "PodsNotReady"
ROLLING_OUT = "RollingOut"
SCALED_TO_ZERO = "ScaledToZero"

# A person must act (Stalled True), besides the sync Job's own reasons (clipmodel_contract.reasons), which are passed on as they are.
INVALID_SPEC = "InvalidSpec"
OBJECT_REJECTED = "ObjectRejected"
GOLDEN_CHECK_FAILED = "GoldenCheckFailed"
SERVER_REJECTED = "ServerRejected"
EMBEDDING_SPACE_MISMATCH = "EmbeddingSpaceMismatch"
SERVER_FAILED = "ServerFailed"
#: Triton's container was killed for want of memory while it loaded a second copy of the model.
OUT_OF_MEMORY = "OutOfMemory"
#: It ended meanwhile, and nobody says why.
SERVER_KILLED = "ServerKilled"
SYNC_FAILED = "SyncFailed"

# The world, or we, failed.
#: A server did not answer to a load.
SERVER_SILENT = "ServerSilent"
API_UNAVAILABLE = "ApiUnavailable"
INTERNAL_ERROR = "InternalError"
