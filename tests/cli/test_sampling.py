"""Sampling on the command line."""

import json

from paceline.core.config.load import load_config
from paceline.lab.decoding import time_pairs
from paceline.lab.models import load_models


def written(run_here, capsys, *arguments):
    assert run_here("generate", "the", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_options_say_how_tokens_are_drawn(run_here, capsys, cli, toy):
    fixed = ("-c", toy, "--policy", "static")
    greedy = written(run_here, capsys, *fixed)
    drawn = written(run_here, capsys, *fixed, "--temperature", 0.9, "--top-p", 0.8, "--seed", 4)
    assert drawn["tokens"] != greedy["tokens"]
    assert (
        drawn["tokens"]
        == written(
            run_here,
            capsys,
            *fixed,
            "--set",
            "generation.temperature=0.9",
            "--set",
            "generation.top_p=0.8",
            "--seed",
            4,
        )["tokens"]
    )
    other = written(run_here, capsys, *fixed, "--temperature", 0.9, "--top-p", 0.8, "--seed", 5)
    assert drawn["tokens"] != other["tokens"]


def test_a_cut_without_a_temperature_is_wrong_usage(run_here, capsys, cli, toy):
    assert run_here("generate", "the", "-c", toy, "--top-p", 0.8) == 2
    assert "has no effect at temperature 0.0" in capsys.readouterr().err


def test_drawn_texts_are_not_compared_but_their_rates_are(run_here, capsys, cli, toy):
    found = written(run_here, capsys, "-c", toy, "--temperature", 1.0, "--compare")
    assert found["identical"] is None
    assert found["speedup"] > 0


def test_a_bench_says_sampled_where_it_cannot_say_same(run_here, capsys, cli, toy):
    prompts = cli.file("prompts.jsonl", '{"text": "abc"}\n{"text": "bcd"}\n')
    call = f"bench -c {toy} --prompts {prompts} -p static-2 -r 1 -n 20 --temperature 1.0".split()
    assert run_here(*call) == 0
    assert capsys.readouterr().out.count(" sampled") == 2
    assert run_here(*call, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared"] is False
    assert found["different"] == []
    assert {one["differing"] for one in found["modes"]} == {None}


def test_a_decoder_of_the_parts_draws_as_the_run_says():
    parts = load_models(
        load_config({"target": "toy", "drafts": {"d": "toy"}, "generation": {"temperature": 1.0}})
    )
    found = time_pairs(parts.decoder(), parts.decoder(), [1, 2], 20, patience_s=0.0, sampled=True)
    assert found.identical is None
    assert found.sentence().endswith("output sampled")
