"""Drafts that speak the target's tokens, and those that do not."""

import pytest
import torch
from structlog.testing import capture_logs

from paceline.backends.torch.reencoding import TranslatedDraft
from paceline.backends.torch.tokenizers import TokenizerCodec, difference
from paceline.backends.transformers import HfConfig, HfDraft, HfTarget
from paceline.core.errors import BackendError
from paceline.core.testing.backends import check_backend

from ..tiny_models import VOCABULARY, noisy_copy, tiny_model
from .stand_ins import LETTERS, folder_of, tokenizer_of

torch.set_num_threads(1)


def built(tmp_path, left, right, *, sizes=(VOCABULARY, VOCABULARY)):
    names = [
        folder_of(tmp_path / name, tokenizer=tokenizer, vocab_size=size)
        for name, tokenizer, size in zip(("big", "little"), (left, right), sizes, strict=True)
    ]
    target = HfConfig(model=names[0], device="cpu").build_target()
    return target, HfConfig(model=names[1], device="cpu").build_draft(target)


@pytest.mark.parametrize("sizes", [(64, 96), (96, 64)])
def test_vocabularies_padded_to_different_sizes_fit(tmp_path, sizes):
    target, draft = built(tmp_path, tokenizer_of(), tokenizer_of(), sizes=sizes)
    assert (target.vocabulary, draft.vocabulary) == (sizes[0], 64)
    check_backend(lambda: target, lambda _: draft, prompts=[[1, 2, 3]], max_examples=6)


def test_a_draft_never_proposes_what_the_target_lacks():
    model = tiny_model("llama")
    free = HfDraft(model).open([1, 2]).draft(12, None).tokens
    limit = sorted(free)[6]
    assert max(free) >= limit
    assert max(HfDraft(model, vocabulary=limit).open([1, 2]).draft(12, None).tokens) < limit


def test_a_draft_reads_a_token_it_does_not_know_as_its_last_one():
    draft = HfDraft(tiny_model("llama", vocab_size=32))
    session, same = draft.open([1, 2]), draft.open([1, 2])
    for unknown, read in ((40, 31), (1, 1), (33, 31)):
        assert session.draft(3, None).tokens == same.draft(3, None).tokens
        session.advance([unknown, 2])
        same.advance([read, 2])
    assert max(session.draft(3, None).tokens) < 32


def test_ids_that_mean_something_else_are_told():
    target = HfTarget(tiny_model("llama"), tokenizer_of())
    draft = HfDraft(tiny_model("llama"), tokenizer_of(LETTERS[::-1]))
    assert difference(target, draft) == "token 0 is 'a' for the target and 'z' for the draft."


@pytest.mark.parametrize(("other", "kind"), [(LETTERS, HfDraft), (LETTERS[::-1], TranslatedDraft)])
def test_text_is_re_encoded_only_where_tokenizers_differ(tmp_path, other, kind):
    with capture_logs() as said:
        _, draft = built(tmp_path, tokenizer_of(), tokenizer_of(other))
    assert type(draft) is kind
    assert [line["event"] for line in said] == ["draft_reencoded"] * (kind is TranslatedDraft)


def test_extra_tokens_of_one_side_are_no_difference(tmp_path):
    _, draft = built(tmp_path, tokenizer_of(), tokenizer_of(eos="<end>"))
    assert draft.vocabulary == VOCABULARY


def test_equal_vocabularies_that_cut_text_differently_are_told_apart():
    left, right = tokenizer_of(), tokenizer_of()
    right.backend_tokenizer.pre_tokenizer = None
    model = tiny_model("llama")
    assert "becomes" in difference(HfTarget(model, left), HfDraft(noisy_copy(model), right))


def test_a_pair_without_tokenizers_is_taken_at_its_word():
    model = tiny_model("llama")
    assert difference(HfTarget(model), HfDraft(model, tokenizer_of())) is None


def test_a_target_of_another_backend_is_compared_by_its_codec():
    class Spelling:
        def encode(self, text):
            return [ord(letter) for letter in text]

    class Other:
        codec = Spelling()

    assert "becomes" in difference(Other(), HfDraft(tiny_model("llama"), tokenizer_of()))


def test_special_tokens_are_added_to_a_prompt_and_left_out_of_a_text():
    tokenizer = tokenizer_of(bos="<s>", eos="</s>")
    codec = TokenizerCodec(tokenizer)
    assert codec.decode([0, 1, tokenizer.eos_token_id]) == "a b"
    assert codec.encode("ab") == tokenizer("ab")["input_ids"]


@pytest.mark.parametrize(("bos", "eos", "first"), [("<s>", "</s>", "<s>"), (None, "</s>", "</s>")])
def test_an_empty_prompt_starts_from_a_special_token(bos, eos, first):
    tokenizer = tokenizer_of(bos=bos, eos=eos)
    assert TokenizerCodec(tokenizer).encode("") == [tokenizer.convert_tokens_to_ids(first)]


def test_an_empty_prompt_without_special_tokens_is_refused():
    with pytest.raises(BackendError, match="prompt that is not empty"):
        TokenizerCodec(tokenizer_of()).encode("")
