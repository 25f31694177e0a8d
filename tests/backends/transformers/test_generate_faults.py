"""The drop-in does what assisted generation refuses or gets wrong; what it cannot honour, it says first."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    StaticCache,
    StoppingCriteriaList,
)
from transformers.generation.stopping_criteria import StoppingCriteria, StopStringCriteria

import paceline.hf
from paceline.backends.transformers.host.cache import CACHE
from paceline.core.errors import BackendError, ConfigError

from ..tiny_models import VOCABULARY, noisy_copy, tiny_model

torch.set_num_threads(1)

MODEL = tiny_model("llama")
DRAFT = noisy_copy(MODEL)
IDS = torch.tensor([[3, 1, 4, 1, 5]])
SHARED = {"max_new_tokens": 30, "pad_token_id": 0, "do_sample": False}


def adaptive(draft=MODEL, **options):
    """Return a drop-in that drafts far ahead; by default its draft is the target, which is always right."""
    return paceline.hf.adaptive(draft, policy={"name": "static", "gamma": 8}, **options)


def plain(ids=IDS, **options):
    return MODEL.generate(ids, **{**SHARED, **options})


def fast(ids=IDS, loop=None, **options):
    return MODEL.generate(ids, **{**SHARED, **options}, custom_generate=loop or adaptive())


def criterion(holds):
    class Holds(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.tensor([bool(holds(row)) for row in input_ids.tolist()])

    return StoppingCriteriaList([Holds()])


@pytest.mark.parametrize("where", [1, 3, 9])
def test_a_criterion_is_asked_after_each_token_of_a_block_not_once_after_it(where):
    token = int(plain()[0, IDS.shape[1] + where])
    for holds in (lambda row: row[-1] == token, lambda row: token in row[5:]):
        wanted = plain(stopping_criteria=criterion(holds)).tolist()
        assert fast(stopping_criteria=criterion(holds)).tolist() == wanted
        assert len(wanted[0]) <= 5 + where + 1


def stop_at(text):
    """Return stop strings by a criterion made of a real tokenizer."""
    return StopStringCriteria(tokenizer(), [text])


def tokenizer():
    made = Tokenizer(models.WordLevel({word(token): token for token in range(VOCABULARY)}, unk_token="aa"))
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="aa")


def word(token):
    return chr(97 + token // 26) + chr(97 + token % 26)


@pytest.mark.parametrize("way", ["criterion", "on the object"])
def test_a_stop_string_ends_the_text_inside_a_block(way):
    new = plain()[0, 5:].tolist()
    text = word(new[4]) + word(new[5])
    wanted = plain(stopping_criteria=StoppingCriteriaList([stop_at(text)]))
    assert wanted.shape[1] < plain().shape[1]
    if way == "criterion":
        found = fast(stopping_criteria=StoppingCriteriaList([stop_at(text)]))
    else:
        found = fast(loop=adaptive(tokenizer=tokenizer(), stop_strings=[text]))
    assert found.tolist() == wanted.tolist()


def test_rows_of_a_batch_with_padding_take_turns_each_to_its_own_end():
    ids = torch.tensor([[0, 0, 7, 9], [3, 1, 4, 1], [0, 50, 60, 70]])
    mask = (ids != 0).long()
    eos = [int(plain(ids, attention_mask=mask)[1, 8])]
    rounds = []
    loop = adaptive(DRAFT, on_round=lambda row, done: rounds.append(row))
    found = fast(ids, loop, attention_mask=mask, eos_token_id=eos)
    assert found.tolist() == plain(ids, attention_mask=mask, eos_token_id=eos).tolist()
    assert rounds[:6] == [0, 1, 2] * 2
    assert rounds != [0, 1, 2] * (len(rounds) // 3)
    assert set(rounds) == {0, 1, 2}


def test_a_request_for_a_static_cache_is_answered_with_the_same_tokens():
    assert fast(cache_implementation="static").tolist() == plain().tolist()
    static = StaticCache(config=MODEL.config, max_cache_len=64)
    assert fast(**{CACHE: static}).tolist() == plain().tolist()
    assert int(static.get_seq_length()) == 0


@pytest.mark.parametrize("read", [0, 3])
def test_a_dynamic_cache_is_gone_on_with_and_left_as_generate_would_leave_it(read):
    def cache():
        made = DynamicCache()
        if read:
            with torch.no_grad():
                MODEL(IDS[:, :read], **{CACHE: made})
        return made

    ours, theirs = cache(), cache()
    found = fast(**{CACHE: ours})
    assert found.tolist() == plain(**{CACHE: theirs}).tolist()
    assert ours.get_seq_length() == theirs.get_seq_length() == found.shape[1] - 1
    # A second turn reads only what is new.
    longer = torch.cat([found, torch.tensor([[8, 9]])], dim=1)
    assert fast(longer, **{CACHE: ours}).tolist() == plain(longer).tolist()


def test_a_filled_cache_is_used_and_not_read_anew():
    lengths = []
    hook = MODEL.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    cache = DynamicCache()
    loop = adaptive(DRAFT)
    try:
        first = fast(loop=loop, **{CACHE: cache})
        lengths.clear()
        fast(torch.cat([first, torch.tensor([[8]])], dim=1), loop, **{CACHE: cache})
    finally:
        hook.remove()
    assert max(lengths) <= 1 + 1 + 8


class Calls:
    """A processor that notes what it is shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, input_ids, scores):
        self.shown.append(input_ids.tolist())
        return scores


def test_a_processor_of_a_user_is_shown_exactly_what_generate_would_show_it():
    theirs, ours = Calls(), Calls()
    eos = [int(plain()[0, 5 + 11])]
    plain(logits_processor=LogitsProcessorList([theirs]), eos_token_id=eos)
    accepted = []
    loop = adaptive(on_round=lambda row, done: accepted.append(done.accepted))
    fast(loop=loop, logits_processor=LogitsProcessorList([ours]), eos_token_id=eos)
    assert ours.shown == theirs.shown
    assert max(accepted) > 1


def test_allowed_tokens_are_asked_for_with_the_number_of_the_row():
    ids = torch.tensor([[3, 1], [4, 1]])
    allowed = lambda row, text: [10 + row, 20 + row, 30 + len(text)]
    options = {"prefix_allowed_tokens_fn": allowed, "attention_mask": torch.ones_like(ids)}
    assert fast(ids, **options).tolist() == plain(ids, **options).tolist()


class Streamer:
    def __init__(self):
        self.put_in, self.ended = [], 0

    def put(self, value):
        self.put_in.append(value.flatten().tolist())

    def end(self):
        self.ended += 1


def test_a_streamer_is_given_the_prompt_the_tokens_of_each_round_and_the_end():
    streamer, rounds = Streamer(), []
    found = fast(
        loop=adaptive(streamer=streamer, on_round=lambda row, done: rounds.append(list(done.tokens)))
    )
    assert streamer.put_in[0] == IDS[0].tolist()
    assert streamer.put_in[1:] == rounds
    assert [token for tokens in streamer.put_in for token in tokens] == found[0].tolist()
    assert streamer.ended == 1


def test_a_streamer_hears_of_the_end_also_when_a_criterion_fails():
    streamer = Streamer()

    def fails(row):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fast(loop=adaptive(streamer=streamer), stopping_criteria=criterion(fails))
    assert streamer.ended == 1


def test_what_a_processor_raises_leaves_generate_as_it_is():
    class TheirError(Exception):
        pass

    def fails(input_ids, scores):
        raise TheirError("stop")

    with pytest.raises(TheirError, match="stop"):
        fast(logits_processor=LogitsProcessorList([fails]))


def test_what_was_learnt_is_kept_from_call_to_call():
    loop = paceline.hf.adaptive(DRAFT, policy="online")
    for _ in range(2):
        assert fast(loop=loop).tolist() == plain().tolist()
    (known,) = loop._known.values()
    first = known.policy.state_dict()
    fast(loop=loop)
    assert list(loop._known.values()) == [known]
    assert known.policy.state_dict() != first


@pytest.mark.parametrize("policy", ["auto", {"name": "static", "gamma": 3}, "online", "hedge"])
@pytest.mark.parametrize(
    "draft", [DRAFT, "lookup", {"one": DRAFT, "other": "lookup"}], ids=["model", "lookup", "both"]
)
def test_any_policy_and_draft_will_do(policy, draft):
    assert fast(loop=paceline.hf.adaptive(draft, policy=policy)).tolist() == plain().tolist()


def test_a_smaller_vocabulary_of_the_draft_is_no_hindrance():
    small = tiny_model("llama", vocab_size=VOCABULARY - 30)
    for options in ({}, {"repetition_penalty": 1.5, "bad_words_ids": [[90], [3]]}):
        assert fast(loop=adaptive(small), **options).tolist() == plain(**options).tolist()


def refused(match, ids=IDS, loop=None, **options):
    seen = []
    loop = loop or adaptive(on_round=lambda row, done: seen.append(done))
    with pytest.raises(BackendError, match=match):
        fast(ids, loop, **options)
    assert seen == []


def test_what_cannot_be_honoured_is_refused_before_the_first_token():
    two = torch.tensor([[3, 1], [4, 1]])
    refused("beam", num_beams=2)
    refused("output_attentions", output_attentions=True, return_dict_in_generate=True)
    refused("output_hidden_states", output_hidden_states=True, return_dict_in_generate=True)
    refused("pad on the left", two, attention_mask=torch.tensor([[1, 0], [1, 1]]))
    refused("position_ids", position_ids=torch.arange(5)[None] + 7)
    refused("streamer", two, adaptive(streamer=Streamer()), attention_mask=torch.ones_like(two))
    refused("given inputs_embeds|shape", None, inputs_embeds=torch.zeros(1, 3, 32, dtype=torch.float64))


def test_a_cache_that_cannot_be_used_is_refused():
    cache = DynamicCache()
    with torch.no_grad():
        MODEL(IDS.repeat(2, 1), **{CACHE: cache})
    longer = torch.tensor([[3, 1, 4, 1, 5, 9], [3, 1, 4, 1, 5, 8]])
    refused("leave it out", longer, **{CACHE: cache}, attention_mask=torch.ones_like(longer))


def test_a_model_in_training_is_refused():
    MODEL.train()
    try:
        refused("model.eval")
    finally:
        MODEL.eval()


def test_a_processor_that_runs_the_model_on_a_whole_batch_is_refused_in_a_batch():
    ids = torch.tensor([[3, 1], [4, 1]])
    refused("each row is decoded by itself", ids, attention_mask=torch.ones_like(ids), guidance_scale=1.5)


def test_a_wrong_draft_or_policy_is_named():
    with pytest.raises(BackendError, match="'small'"):
        paceline.hf.adaptive(7)
    with pytest.raises(BackendError, match="lookup"):
        paceline.hf.adaptive("look-up")
    with pytest.raises(BackendError, match="tokenizer"):
        paceline.hf.adaptive("lookup", stop_strings="x")
    with pytest.raises(ConfigError, match="nobody"):
        paceline.hf.adaptive("lookup", policy="nobody")


@pytest.mark.parametrize("left", [-torch.inf, torch.nan])
@pytest.mark.parametrize(
    "policy", [{"name": "static", "gamma": 3}, {"name": "static", "gamma": 2, "nodes": 4}]
)
def test_scores_that_leave_no_token_to_draw_are_refused_by_what_they_are(left, policy):
    processors = LogitsProcessorList([lambda ids, scores: torch.full_like(scores, left)])
    loop = paceline.hf.adaptive(DRAFT, policy=policy)
    with pytest.raises(
        BackendError, match="no token to draw: all scores are minus infinity, or some are NaN"
    ):
        fast(loop=loop, do_sample=True, logits_processor=processors)
