"""The policies that come with paceline, one a file, registered through the same hook as everybody else's.

Here are the methods that keep up with the best fixed gamma (see docs/policies.md), the fixed ones that they are
measured against, and the parts they share. `baselines` holds the published methods that fall behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.core.plugins.hooks import impl
from paceline.policies.auto import AutoConfig
from paceline.policies.baselines.adaedl import AdaEdlConfig
from paceline.policies.baselines.aimd import AimdConfig
from paceline.policies.baselines.cached_fsm import CachedFsmConfig
from paceline.policies.baselines.confidence import ConfidenceConfig
from paceline.policies.baselines.d_ucb import DUcbConfig
from paceline.policies.baselines.ema_tier import EmaTierConfig
from paceline.policies.baselines.fsm import FsmConfig
from paceline.policies.baselines.gammatune import GammatuneConfig
from paceline.policies.baselines.q_learning import QLearningConfig
from paceline.policies.baselines.restart_cost import RestartCostConfig
from paceline.policies.baselines.svip import SvipConfig
from paceline.policies.baselines.tapout import TapOutConfig
from paceline.policies.baselines.ucb import UcbConfig
from paceline.policies.ev_stop import EvStopConfig
from paceline.policies.gate import GateConfig
from paceline.policies.hedge import HedgeConfig
from paceline.policies.linear_select import LinearSelectConfig
from paceline.policies.metasd import MetaSDConfig
from paceline.policies.online import OnlineConfig
from paceline.policies.schedule import ScheduleConfig
from paceline.policies.static import StaticConfig
from paceline.policies.survival import SurvivalConfig
from paceline.policies.thompson import ThompsonConfig
from paceline.policies.tree_online import TreeOnlineConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline.core.config.blocks import PolicyConfig

CONFIGS: tuple[type[PolicyConfig], ...] = (
    StaticConfig,
    ScheduleConfig,
    OnlineConfig,
    TreeOnlineConfig,
    ThompsonConfig,
    SurvivalConfig,
    EvStopConfig,
    AutoConfig,
    AimdConfig,
    GammatuneConfig,
    FsmConfig,
    EmaTierConfig,
    ConfidenceConfig,
    SvipConfig,
    AdaEdlConfig,
    CachedFsmConfig,
    UcbConfig,
    DUcbConfig,
    QLearningConfig,
    TapOutConfig,
    LinearSelectConfig,
    HedgeConfig,
    MetaSDConfig,
    GateConfig,
    RestartCostConfig,
)


@impl
def register_policies() -> Iterable[type[PolicyConfig]]:
    """Name the configurations of the built-in policies."""
    return CONFIGS
