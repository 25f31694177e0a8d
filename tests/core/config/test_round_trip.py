import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import load_config
from paceline.core.config.run import DRAFT_NAME
from paceline.core.plugins.catalogue import Catalogue

text = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\u2028\u2029"), max_size=8
)
policies = st.recursive(
    st.sampled_from(["static", "online", "select"])
    | st.fixed_dictionaries({"name": st.just("static")}, optional={"gamma": st.integers(0, 99)})
    | st.fixed_dictionaries({"name": st.just("timed"), "deadline": st.floats(-1e30, 1e30)})
    | st.fixed_dictionaries(
        {"name": st.just("online")},
        optional={
            "window": st.integers(1, 1000),
            "decay": st.floats(0, 1, exclude_min=True),
            "label": st.none() | text,
            "gammas": st.lists(st.integers(0, 9)).map(sorted),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {"name": st.just("select")},
        optional={
            "length": inner,
            "arms": st.lists(inner, max_size=2),
            "by_draft": st.dictionaries(text, inner, max_size=2),
        },
    ),
    max_leaves=4,
)
models = st.fixed_dictionaries(
    {"backend": st.just("hf"), "model": text},
    optional={"dtype": st.sampled_from(["float32", "bfloat16"]), "trust_remote_code": st.booleans()},
)
lookups = st.fixed_dictionaries(
    {"backend": st.just("prompt-lookup")}, optional={"max_ngram": st.integers(1, 9)}
)
remotes = st.fixed_dictionaries(
    {"backend": st.just("remote")},
    optional={"prices": st.dictionaries(st.integers(0, 9), st.floats(0, 1), max_size=2)},
)
runs = st.fixed_dictionaries(
    {},
    optional={
        "target": st.sampled_from(["embedded", "remote"]) | models | remotes,
        "drafts": st.dictionaries(
            st.from_regex(DRAFT_NAME, fullmatch=True),
            st.sampled_from(["embedded", "prompt-lookup"]) | models | lookups,
            max_size=3,
        ),
        "policy": policies,
        "generation": st.fixed_dictionaries(
            {},
            optional={
                "max_new_tokens": st.integers(1, 10**9),
                "temperature": st.just(0.0) | st.floats(0.001, 1e9),
                "repetition_penalty": st.floats(0.5, 2.0),
                "seed": st.integers(1 - 2**63, 2**63 - 1),
                "stop": st.lists(text.filter(bool), max_size=2),
            },
        ),
        "trace": st.none() | text.map(lambda name: f"runs/{name}"),
        "on_policy_error": st.sampled_from(["raise", "fallback"]),
        "scope": st.sampled_from(["request", "session"]),
    },
)


@settings(deadline=None, max_examples=60)
@given(data=runs)
def test_a_dumped_run_loads_as_the_same_run(data: dict[str, Any], catalogue: Catalogue) -> None:
    config = load_config(data, catalogue=catalogue)
    assert load_config(config.model_dump(), catalogue=catalogue) == config
    assert load_config(json.loads(config.model_dump_json()), catalogue=catalogue) == config
    assert list(load_config(config.model_dump(), catalogue=catalogue).drafts) == list(config.drafts)


@settings(deadline=None, max_examples=40)
@given(data=runs)
def test_a_run_written_as_yaml_loads_as_the_same_run(
    data: dict[str, Any], catalogue: Catalogue, tmp_path_factory: Any
) -> None:
    config = load_config(data, catalogue=catalogue)
    file: Path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True), encoding="utf-8")
    assert load_config(file, catalogue=catalogue) == config
