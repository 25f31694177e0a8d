"""One prompt two ways in turns."""

import pytest

from paceline import SpeculativeDecoder
from paceline.backends.toy import ToyDraft, ToyTarget
from paceline.lab import models as models_module
from paceline.lab.decoding import MOST_PAIRS, Decoding, decode, time_pairs
from paceline.policies.static import StaticConfig


def a_decoder(seed=3, gamma=4):
    target = ToyTarget(seed=seed)
    return SpeculativeDecoder(target, {"d": ToyDraft(target)}, StaticConfig(gamma=gamma).build())


def test_a_policy_that_writes_the_same_is_found_identical():
    found = time_pairs(a_decoder(), a_decoder(gamma=0), [1, 2], 30)

    assert found.identical
    assert found.pairs == MOST_PAIRS
    assert found.slowest <= found.speedup <= found.fastest
    assert "output identical" in found.sentence()


def test_a_decoder_that_writes_something_else_is_found_out():
    found = time_pairs(a_decoder(seed=4), a_decoder(seed=3, gamma=0), [1, 2], 30)

    assert not found.identical
    assert "NOT identical" in found.sentence()


def test_long_texts_get_one_pair():
    assert time_pairs(a_decoder(), a_decoder(gamma=0), [1, 2], 30, patience_s=0.0).pairs == 1


def test_generate_fails_when_the_outputs_differ(monkeypatch, tmp_path, capsys, run_here):
    (tmp_path / "run.yaml").write_text("target: {backend: toy}\ndrafts: {d: {backend: toy}}\n")
    monkeypatch.setattr(models_module.Models, "untraced", lambda self, decoder: a_decoder(seed=9))

    code = run_here("generate", "the", "-c", tmp_path / "run.yaml", "-n", 20, "--compare")

    assert code == 1
    assert "differs from that of plain decoding" in capsys.readouterr().err


def test_what_was_decoded_is_at_hand_when_the_run_is_cut_short():
    decoding = Decoding()

    def stop(done):
        if done.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(a_decoder(), [1, 2], 100, into=decoding, on_round=stop)

    whole = decode(a_decoder(), [1, 2], 100)
    assert (decoding.totals.rounds, len(decoding.gammas), decoding.ended) == (3, 3, None)
    assert decoding.tokens == whole.tokens[: len(decoding.tokens)]
    assert (whole.ended, whole.totals.emitted) == ("length", 100)
