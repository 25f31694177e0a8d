from paceline.core.records import Requirements
from paceline.policies.nested import joint_requirements


class Asking:
    def __init__(self, signal=None, draft=None):
        signals = frozenset({signal} if signal else ())
        self.requires = Requirements(signals=signals, draft=draft, latency="fused" if draft else "none")


def test_signals_are_required_of_the_draft_that_all_who_listen_name():
    joint = joint_requirements([Asking("prob", "small"), Asking("token", "small"), Asking()])
    assert (joint.signals, joint.draft) == ({"prob", "token"}, "small")


def test_signals_are_required_of_every_draft_when_one_who_listens_names_another_or_none():
    assert joint_requirements([Asking("prob", "small"), Asking("token", "big")]).draft is None
    assert joint_requirements([Asking("prob", "small"), Asking("token")]).draft is None


def test_drafts_change_as_often_as_one_of_them_asks_for():
    often = Asking()
    often.requires = Requirements(draft_switch="request")
    assert joint_requirements([Asking(), often]).draft_switch == "request"
    assert joint_requirements([often], draft_switch="round").draft_switch == "round"


def test_the_rest_is_whatever_one_of_them_requires():
    joint = joint_requirements([Asking(), Asking("prob", "small")], zero_gamma=True)
    assert joint == Requirements(zero_gamma=True, latency="fused", signals=frozenset({"prob"}), draft="small")
