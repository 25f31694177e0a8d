from types import SimpleNamespace
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from paceline import BackendConfig, PolicyConfig, load_config
from paceline.core.errors import PluginError
from paceline.core.plugins.catalogue import Catalogue


def load(*plugins: object) -> Catalogue:
    return Catalogue.load(plugins, installed=False)


def test_entries_say_what_they_are_and_who_provides_them(make: SimpleNamespace) -> None:
    coin = make.policy("coin", __doc__="Flips a coin.\n\nA fair one.")
    catalogue = load(make.plugin("coins", register_policies=lambda: [coin]))
    entry = catalogue.policy("coin")
    assert (entry.config, entry.distribution, entry.version, entry.entry_point) == (
        coin,
        "coins",
        "",
        "coins",
    )
    assert (entry.provider, entry.summary) == ("coins", "Flips a coin.")
    assert catalogue.broken == ()


def test_names_are_sorted_whatever_the_order_of_plugins(make: SimpleNamespace) -> None:
    classes = [make.policy(name) for name in ("beta", "gamma", "alpha")]
    catalogue = load(
        *(make.plugin(f"p{n}", register_policies=lambda c=c: [c]) for n, c in enumerate(classes))
    )
    assert list(catalogue.policies) == ["alpha", "beta", "gamma"]


def test_two_catalogues_share_nothing(make: SimpleNamespace) -> None:
    plugin = make.plugin("coins", register_policies=lambda: [make.policy("coin")])
    assert "coin" in load(plugin).policies
    assert "coin" not in load().policies


def test_a_lazy_iterable_is_fine_and_may_fail_half_way(make: SimpleNamespace) -> None:
    good, other = make.policy("good"), make.policy("other")

    def failing() -> Any:
        yield good
        raise OSError("the disk is gone")

    catalogue = load(
        make.plugin("lazy", register_policies=lambda: iter([other])),
        make.plugin("half", register_policies=failing),
    )
    assert list(catalogue.policies) == ["other"]
    assert catalogue.broken == (("half", "half", "OSError: the disk is gone"),)


@pytest.mark.parametrize(
    "fault", [RuntimeError("boom"), SystemExit("bye"), ImportError("no module named sklearn")]
)
def test_a_hook_that_raises_breaks_only_its_own_plugin(make: SimpleNamespace, fault: BaseException) -> None:
    def register() -> list[Any]:
        raise fault

    fine = make.plugin("fine", register_policies=lambda: [make.policy("coin")])
    backend = make.backend("tape", {"target"})
    broken = make.plugin("bad", register_policies=register, register_backends=lambda: [backend])
    catalogue = load(broken, fine)
    assert list(catalogue.policies) == ["coin"]
    assert list(catalogue.backends) == ["tape"], "the other hook of the broken plugin still counts"
    assert catalogue.broken == (("bad", "bad", f"{type(fault).__name__}: {fault}"),)


def test_a_misspelt_hook_takes_the_plugin_out_and_leaves_others(make: SimpleNamespace) -> None:
    def listed() -> list[Any]:
        return [make.policy("hidden")]

    wrong = make.plugin("wrong", register_policys=listed, register_policies=listed)
    fine = make.plugin("fine", register_policies=lambda: [make.policy("coin")])
    catalogue = load(wrong, fine)
    assert list(catalogue.policies) == ["coin"]
    [broken] = catalogue.broken
    assert broken.entry_point == "wrong"
    assert "unknown hook 'register_policys'" in broken.error


def test_a_hook_with_an_unknown_argument_takes_the_plugin_out(make: SimpleNamespace) -> None:
    catalogue = load(make.plugin("wrong", register_policies=lambda config: []))
    [broken] = catalogue.broken
    assert "config" in broken.error


@pytest.mark.parametrize("result", [7, PolicyConfig, None])
def test_a_hook_must_return_a_list(make: SimpleNamespace, result: object) -> None:
    catalogue = load(make.plugin("wrong", register_policies=lambda: result))
    [broken] = catalogue.broken
    assert broken.error.startswith("TypeError: register_policies() returned ")


class NoLiteral(PolicyConfig):
    name: str = "x"

    def build(self, seed: int = 0) -> Any: ...


class NoDefault(PolicyConfig):
    name: Literal["x"]

    def build(self, seed: int = 0) -> Any: ...


class TwoNames(NoDefault):
    name: Literal["x", "y"] = "x"  # type: ignore[assignment]


class OtherDefault(NoDefault):
    name: Literal["x"] = "y"  # type: ignore[assignment]


class BadName(NoDefault):
    name: Literal["a name"] = "a name"  # type: ignore[assignment]


class NoBuild(PolicyConfig):
    name: Literal["x"] = "x"


class Unresolved(NoDefault):
    name: Literal["x"] = "x"
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class NotOurs(BaseModel):
    name: Literal["x"] = "x"


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (NoLiteral, 'NoLiteral needs `name: Literal["x"] = "x"`; the annotation is <class \'str\'>'),
        (NoDefault, "the default is PydanticUndefined"),
        (TwoNames, "the annotation is typing.Literal['x', 'y']"),
        (OtherDefault, "the default is 'y'"),
        (BadName, "is named 'a name'"),
        (NoBuild, "does not override build()"),
        (Unresolved, "has an annotation that cannot be resolved"),
        (NotOurs, "is not a subclass of PolicyConfig"),
        (PolicyConfig, "is not a subclass of PolicyConfig"),
        ("static", "'static' is not a subclass of PolicyConfig"),
        (NoBuild(), "is not a subclass of PolicyConfig"),
    ],
)
def test_a_class_that_is_not_as_described_is_refused_and_its_siblings_stay(
    make: SimpleNamespace, found: object, complaint: str
) -> None:
    catalogue = load(make.plugin("mixed", register_policies=lambda: [found, make.policy("coin")]))
    assert list(catalogue.policies) == ["coin"]
    [broken] = catalogue.broken
    assert broken.error.startswith("TypeError: ")
    assert complaint in broken.error


class NoFactory(BackendConfig):
    backend: Literal["x"] = "x"
    roles = frozenset({"target", "draft"})  # type: ignore[assignment]

    def build_target(self) -> Any: ...


def test_a_backend_must_have_roles_and_their_factories(make: SimpleNamespace) -> None:
    classes = [make.backend("none", set()), make.backend("odd", {"judge"}), NoFactory]
    catalogue = load(make.plugin("mixed", register_backends=lambda: classes))
    assert catalogue.backends == {}
    assert [broken.error for broken in catalogue.broken] == [
        "TypeError: NoneConfig.roles is {}; it must hold 'target', 'draft' or both",
        "TypeError: OddConfig.roles is {'judge'}; it must hold 'target', 'draft' or both",
        "TypeError: NoFactory does not override build_draft()",
    ]


def test_a_name_provided_twice_is_refused_for_both_when_it_is_used(make: SimpleNamespace) -> None:
    first = make.plugin("first", register_policies=lambda: [make.policy("coin"), make.policy("dice")])
    second = make.plugin("second", register_policies=lambda: [make.policy("coin")])
    catalogue = load(first, second)
    assert catalogue.policy("dice").distribution == "first"
    with pytest.raises(PluginError) as caught:
        catalogue.policy("coin")
    assert str(caught.value) == (
        "policy 'coin' is provided by first (first) and by second (second); uninstall all but one, or list the others"
        " in PACELINE_DISABLE_PLUGINS"
    )


def test_a_built_in_does_not_win_over_a_plugin_of_the_same_name(make: SimpleNamespace) -> None:
    catalogue = Catalogue.load([make.plugin("mine", register_policies=lambda: [make.policy("static")])])
    assert "static" not in catalogue.policies
    assert "online" in catalogue.policies
    with pytest.raises(PluginError, match=r"'static' is provided by paceline .* and by mine"):
        catalogue.policy("static")


def test_the_same_class_found_twice_is_no_clash(make: SimpleNamespace) -> None:
    coin = make.policy("coin")
    catalogue = load(*(make.plugin(name, register_policies=lambda: [coin]) for name in ("first", "second")))
    assert catalogue.policy("coin").distribution == "first"


def test_a_policy_and_a_backend_may_share_a_name(make: SimpleNamespace) -> None:
    tape, backend = make.policy("tape"), make.backend("tape", {"draft"})
    catalogue = load(make.plugin("p", register_policies=lambda: [tape], register_backends=lambda: [backend]))
    assert catalogue.policy("tape").config is tape
    assert catalogue.backend("tape").config is backend


def test_a_missing_name_brings_the_nearest_the_installed_and_the_broken(make: SimpleNamespace) -> None:
    def register() -> list[Any]:
        raise ImportError("No module named 'sklearn'")

    fine = make.plugin("fine", register_policies=lambda: [make.policy("coin"), make.policy("dice")])
    catalogue = load(fine, make.plugin("bad", register_policies=register))
    with pytest.raises(PluginError) as caught:
        catalogue.policy("cion")
    assert str(caught.value) == (
        "no policy named 'cion'; did you mean 'coin'? installed: coin, dice; plugin 'bad' (bad) failed and may be what"
        " provides it: ImportError: No module named 'sklearn'"
    )
    with pytest.raises(PluginError, match=r"^no backend named 'tape'; installed: none; plugin 'bad'"):
        catalogue.backend("tape")


def test_backends_are_listed_by_the_role_they_play(make: SimpleNamespace) -> None:
    classes = [make.backend("both", {"target", "draft"}), make.backend("ahead", {"draft"})]
    catalogue = load(make.plugin("p", register_backends=lambda: classes))
    assert catalogue.playing("target") == ("both",)
    assert catalogue.playing("draft") == ("ahead", "both")


def test_a_broken_plugin_does_not_stop_a_run_that_does_without_it(make: SimpleNamespace) -> None:
    def register() -> list[Any]:
        raise RuntimeError("boom")

    catalogue = Catalogue.load([make.plugin("bad", register_policies=register)])
    assert load_config({"target": "toy", "policy": "static"}, catalogue=catalogue).policy.name == "static"


def taking(suffix: str) -> Any:
    """A backend's `for_model` that takes files of one kind."""
    return classmethod(lambda cls, model: cls() if model.endswith(suffix) else None)


def test_a_model_goes_to_the_first_backend_that_takes_its_kind(make: SimpleNamespace) -> None:
    classes = [
        make.backend("silent", {"target"}),
        make.backend("reels", {"target"}, for_model=taking(".reel")),
        make.backend("tapes", {"draft"}, for_model=taking("")),
    ]
    catalogue = load(make.plugin("p", register_backends=lambda: classes))
    assert [catalogue.block_for(model).backend for model in ("a.reel", "b")] == ["reels", "tapes"]
    assert load(make.plugin("p", register_backends=lambda: classes[:1])).block_for("a.reel") is None


def test_a_backend_that_fails_over_a_model_is_named(make: SimpleNamespace) -> None:
    def fail(model: str) -> None:
        raise KeyError(model)

    broken = make.backend("tape", {"target"}, for_model=staticmethod(fail))
    catalogue = load(make.plugin("p", register_backends=lambda: [broken]))
    with pytest.raises(PluginError, match=r"^backend 'tape' of p: for_model\(\) raised KeyError\('a'\)"):
        catalogue.block_for("a")
