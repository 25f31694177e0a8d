import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from paceline import GenerationConfig, RunConfig, load_config
from paceline.core.config.load import parse_override
from paceline.core.errors import ConfigError
from paceline.core.plugins.catalogue import Catalogue
from paceline.core.sampling import Sampling

RIGHT = Path(__file__).parent / "right.yaml"


def refusal(source: Any, catalogue: Catalogue, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(
            source, catalogue=catalogue, overrides={k.replace("__", "."): v for k, v in overrides.items()}
        )
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_at_all_is_the_embedded_pair_with_lookup_and_auto(
    catalogue: Catalogue, blocks: SimpleNamespace
) -> None:
    config = load_config(catalogue=catalogue)
    assert config.target == blocks.Embedded()
    assert list(config.drafts) == ["small", "lookup"]
    assert config.drafts == {"small": blocks.Embedded(size="small"), "lookup": blocks.Lookup()}
    assert config.policy == blocks.Auto()
    assert config.generation == GenerationConfig(max_new_tokens=256, temperature=0.0, seed=0)
    assert (config.trace, config.on_policy_error, config.scope) == (None, "raise", "session")


def test_the_generation_block_says_how_tokens_are_drawn() -> None:
    config = load_config({"generation": {"temperature": 0.8, "top_p": 0.95, "seed": 7}})
    assert config.generation.sampling() == Sampling(temperature=0.8, top_p=0.95, seed=7)


def test_a_target_alone_is_helped_by_prompt_lookup(catalogue: Catalogue, blocks: SimpleNamespace) -> None:
    config = load_config({"target": {"backend": "hf", "model": "org/large"}}, catalogue=catalogue)
    assert config.drafts == {"lookup": blocks.Lookup()}


def test_drafts_alone_run_ahead_of_the_embedded_target(catalogue: Catalogue, blocks: SimpleNamespace) -> None:
    config = load_config({"drafts": {"lookup": "prompt-lookup"}}, catalogue=catalogue)
    assert config.target == blocks.Embedded()
    assert config.drafts == {"lookup": blocks.Lookup()}


def test_no_drafts_on_purpose_is_kept(catalogue: Catalogue) -> None:
    assert load_config({"drafts": {}}, catalogue=catalogue).drafts == {}


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "~\n", "policy:\n", "{}\n", "\ufeffpolicy: auto\n"]
)
def test_a_file_that_says_nothing_is_the_defaults(text: str, catalogue: Catalogue, tmp_path: Path) -> None:
    assert load_config(written(tmp_path, text), catalogue=catalogue) == load_config(catalogue=catalogue)


def test_a_bare_name_is_short_for_a_mapping(catalogue: Catalogue) -> None:
    short = load_config({"policy": "static", "target": "embedded"}, catalogue=catalogue)
    long = load_config({"policy": {"name": "static"}, "target": {"backend": "embedded"}}, catalogue=catalogue)
    assert short == long


def test_a_default_may_be_the_bare_name_of_a_policy(catalogue: Catalogue, blocks: SimpleNamespace) -> None:
    policy: Any = load_config({"policy": "select"}, catalogue=catalogue).policy
    assert policy.length == blocks.Online()


def test_built_blocks_pass_as_they_are(catalogue: Catalogue, blocks: SimpleNamespace) -> None:
    policy = blocks.Static(gamma=9)
    assert load_config({"policy": policy, "target": blocks.Remote()}, catalogue=catalogue).policy is policy


def test_a_run_of_built_blocks_needs_no_catalogue(blocks: SimpleNamespace) -> None:
    run = RunConfig(target=blocks.Remote(), drafts={"lookup": blocks.Lookup()}, policy=blocks.Static())
    assert run.policy == blocks.Static()


def test_a_name_without_a_catalogue_means_what_is_installed(blocks: SimpleNamespace) -> None:
    run = RunConfig(target=blocks.Remote(), drafts={}, policy="static")  # type: ignore[arg-type]
    assert type(run.policy).__module__ == "paceline.policies.static"
    with pytest.raises(ValidationError, match="statik"):
        RunConfig(target=blocks.Remote(), drafts={}, policy="statik")  # type: ignore[arg-type]


def test_yaml_floats_without_a_dot_are_numbers(catalogue: Catalogue) -> None:
    policy: Any = load_config(RIGHT, catalogue=catalogue).policy
    assert policy.length.decay == 0.001


def test_merge_keys_and_aliases_are_understood(catalogue: Catalogue, tmp_path: Path) -> None:
    text = "drafts:\n  a: &a {backend: prompt-lookup, max_ngram: 5}\n  b: {<<: *a, max_ngram: 6}\n  c: *a\n"
    drafts: Any = load_config(written(tmp_path, text), catalogue=catalogue).drafts
    assert [draft.max_ngram for draft in drafts.values()] == [5, 6, 5]


def test_integer_keys_below_an_option_that_wants_them_are_fine(catalogue: Catalogue, tmp_path: Path) -> None:
    target: Any = load_config(
        written(tmp_path, "target: {backend: remote, prices: {1: .5}}"), catalogue=catalogue
    ).target
    assert target.prices == {1: 0.5}


def test_a_trace_path_stays_relative_to_the_current_directory(catalogue: Catalogue, tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "trace: a/b.jsonl"), catalogue=catalogue).trace == Path("a/b.jsonl")


def test_problems_of_a_mapping_name_paths_only(catalogue: Catalogue) -> None:
    source = {"policy": {"name": "select", "lenght": "static"}, "generation": {"seed": "x"}}
    assert refusal(source, catalogue).splitlines() == [
        "policy.lenght: unknown key; did you mean 'length'?",
        "generation.seed: found 'x'; should be a whole number",
    ]


def test_a_source_of_another_type_is_refused(catalogue: Catalogue) -> None:
    assert refusal(7, catalogue) == "a run is a path, a mapping or None; found int"


def test_a_default_that_is_not_installed_is_named_as_a_default() -> None:
    assert refusal({}, Catalogue({}, {})).splitlines() == [
        "target (the default): no backend named 'embedded'; installed: none",
        "drafts (the default): no backend named 'embedded'; installed: none",
        "drafts (the default): no backend named 'prompt-lookup'; installed: none",
        "policy (the default): no policy named 'auto'; installed: none",
    ]


def test_overrides_replace_and_reach_into_what_the_file_says(
    catalogue: Catalogue, blocks: SimpleNamespace
) -> None:
    overrides = {"generation.max_new_tokens": 8, "policy.arms.0.gamma": "2", "drafts.lookup.max_ngram": 1}
    config: Any = load_config(RIGHT, catalogue=catalogue, overrides=overrides)
    assert config.generation == GenerationConfig(
        max_new_tokens=8, temperature=0.8, top_k=50, top_p=0.95, seed=7
    )
    assert config.policy.arms[0] == blocks.Static(gamma=2)
    assert config.drafts["lookup"] == blocks.Lookup(max_ngram=1)


def test_overrides_reach_into_defaults(catalogue: Catalogue, blocks: SimpleNamespace) -> None:
    config = load_config(
        catalogue=catalogue,
        overrides={"drafts.lookup.max_ngram": 2, "target": {"backend": "remote"}, "policy.gamma": 3},
    )
    assert config.drafts == {"lookup": blocks.Lookup(max_ngram=2)}
    assert config.policy == blocks.Auto(gamma=3)


def test_overrides_leave_the_mapping_that_was_passed_alone(catalogue: Catalogue) -> None:
    source: dict[str, Any] = {"policy": {"name": "static", "gamma": 1}}
    load_config(source, catalogue=catalogue, overrides={"policy.gamma": 2})
    assert source == {"policy": {"name": "static", "gamma": 1}}


def test_problems_of_overrides_name_the_override(catalogue: Catalogue) -> None:
    unknown = "no policy named 'sttic'; did you mean 'static'? installed: auto, online, select, static, timed"
    length = "generation.max_new_tokens"
    assert refusal(RIGHT, catalogue, policy="sttic", generation__max_new_tokens=0).splitlines() == [
        f"override policy=sttic: policy: {unknown}",
        f"override {length}=0: {length}: found 0; should be greater than or equal to 1",
    ]
    assert refusal(None, catalogue, polcy__gamma=3) == (
        "override polcy.gamma=3: polcy: unknown key; did you mean 'policy'?"
    )
    assert refusal(None, catalogue, generation__seed__x=3) == (
        "override generation.seed.x=3: generation.seed: found a mapping; should be a whole number"
    )
    assert refusal({"trace": 5}, catalogue, trace__x=3) == (
        "override trace.x=3: 'x' leads into 5; no such key can be set"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policy=static", ("policy", "static")),
        ("generation.max_new_tokens=64", ("generation.max_new_tokens", 64)),
        ("policy={name: static, gamma: 2}", ("policy", {"name": "static", "gamma": 2})),
        ("trace=", ("trace", None)),
        ("trace=a=b", ("trace", "a=b")),
    ],
)
def test_an_override_is_read_from_the_command_line(text: str, expected: tuple[str, object]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["policy", "=3", "policy={", "trace=2024-13-45"])
def test_an_override_that_cannot_be_read_is_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(text)
    assert str(caught.value).startswith(f"override {text!r}: ")


def test_reading_a_file_leaves_torch_unloaded() -> None:
    code = (
        "import sys; from paceline import json_schema, load_config; load_config({'target': 'toy'});"
        " json_schema(); print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
