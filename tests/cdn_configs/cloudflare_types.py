"""Cloudflare's own types of rulesets; their import takes as long as all our own tests."""

from cloudflare.types.argo import TieredCachingEditParams
from cloudflare.types.cache import SmartTieredCacheEditParams
from cloudflare.types.rulesets import Phase
from cloudflare.types.rulesets.phase_update_params import PhaseUpdateParams
from cloudflare.types.rulesets.set_cache_settings_rule_param import SetCacheSettingsRuleParam

__all__ = [
    "Phase",
    "PhaseUpdateParams",
    "SetCacheSettingsRuleParam",
    "SmartTieredCacheEditParams",
    "TieredCachingEditParams",
]
