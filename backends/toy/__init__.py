"""A pure-Python pair of table models, for tests, documentation and trying out policies."""

from paceline.backends.toy.config import ToyConfig
from paceline.backends.toy.models import Letters, ToyDraft, ToyTarget
from paceline.backends.toy.sessions import ToyDraftSession, ToyTargetSession

__all__ = ["Letters", "ToyConfig", "ToyDraft", "ToyDraftSession", "ToyTarget", "ToyTargetSession"]
