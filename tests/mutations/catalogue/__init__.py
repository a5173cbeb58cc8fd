"""The mutations, by what they break."""

from __future__ import annotations

from tests.mutations.catalogue import (
    audit,
    core,
    definer,
    filters,
    grants,
    keys,
    locks,
    package,
    policies,
    resolver,
    triggers,
    verification,
)

MUTATIONS = (
    *policies.MUTATIONS,
    *grants.MUTATIONS,
    *resolver.MUTATIONS,
    *definer.MUTATIONS,
    *filters.MUTATIONS,
    *keys.MUTATIONS,
    *triggers.MUTATIONS,
    *audit.MUTATIONS,
    *locks.MUTATIONS,
    *core.MUTATIONS,
    *package.MUTATIONS,
    *verification.MUTATIONS,
)
