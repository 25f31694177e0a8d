"""A model is looked at before anything else: what it is fed by `generate`, what it is, and whether it has changed."""

import copy
import gc
import weakref

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSeq2SeqLM

import paceline.hf
from paceline.backends.transformers import HfDraft, HfTarget
from paceline.backends.transformers.host.cache import CACHE
from paceline.core.errors import BackendError
from paceline.core.records import Plan
from paceline.core.testing.doubles import ScriptedPolicy

from ..tiny_models import FAMILIES, VOCABULARY, noisy_copy, tiny_model
from ..torch.stand_ins import tokenizer_of

torch.set_num_threads(1)

MODEL = tiny_model("llama")
IDS = torch.tensor([[3, 1, 4, 1, 5]])
SHARED = {"max_new_tokens": 20, "pad_token_id": 0, "do_sample": False}


def ahead(draft="lookup", **options):
    return paceline.hf.adaptive(draft, policy={"name": "static", "gamma": 4}, **options)


def plain(model, ids=IDS, **options):
    return model.generate(ids, **{**SHARED, **options}).tolist()


def fast(model, loop, ids=IDS, **options):
    return model.generate(ids, **{**SHARED, **options}, custom_generate=loop).tolist()


def test_positions_are_those_that_generate_counts(monkeypatch):
    # By itself it would count from 2, and `generate` tells it to count from 0.
    roberta = {**FAMILIES["gpt_neox"], "is_decoder": True, "type_vocab_size": 1, "pad_token_id": 1}
    monkeypatch.setitem(FAMILIES, "roberta", roberta)
    model = tiny_model("roberta")
    ids = torch.tensor([[3, 7, 4, 9, 5]])
    for policy in ([Plan(3, "small")], [Plan(2, "small"), Plan(0, None), Plan(4, "lookup")]):
        loop = paceline.hf.adaptive(noisy_copy(model), policy=ScriptedPolicy(policy))
        assert fast(model, loop, ids) == plain(model, ids)
    padded = {"attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])}
    rows = torch.tensor([[1, 1, 4, 9, 5], [3, 7, 4, 9, 5]])
    assert fast(model, loop, rows, **padded) == plain(model, rows, **padded)


class Wrapper:
    """Puts a learnt prompt before the text as peft's prompt tuning does: in the preparation of the first pass."""

    def __init__(self, model):
        self.prepare = model.prepare_inputs_for_generation
        self.prompt = torch.randn((1, 3, 32), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        self.embed = model.get_input_embeddings()

    def prepare_inputs_for_generation(self, *args, **kwargs):
        inputs = self.prepare(*args, **kwargs)
        inputs.pop("position_ids", None)
        if inputs[CACHE].get_seq_length() == 0:
            inputs["inputs_embeds"] = torch.cat([self.prompt, self.embed(inputs.pop("input_ids"))], dim=1)
        else:
            inputs["input_ids"] = inputs["input_ids"][:, -1:]
        return inputs


@pytest.fixture
def tuned():
    model = copy.deepcopy(MODEL)
    model.prepare_inputs_for_generation = Wrapper(model).prepare_inputs_for_generation
    return model


def test_a_learnt_prompt_is_refused_by_name_as_target_and_as_draft(tuned):
    assert plain(tuned) != plain(MODEL)
    for use in (lambda: fast(tuned, ahead()), lambda: HfTarget(tuned), lambda: HfDraft(tuned)):
        with pytest.raises(BackendError, match=r"more than its tokens.*Wrapper.prepare_inputs.*LoRA"):
            use()


def test_a_draft_that_reads_a_learnt_prompt_in_its_own_pass_is_refused_for_that():
    draft = noisy_copy(MODEL)
    embed, prompt = draft.get_input_embeddings(), torch.zeros((1, 3, 32), dtype=torch.float64)
    draft.forward = lambda input_ids, position_ids=None, **given: type(draft).forward(
        draft, inputs_embeds=torch.cat([prompt, embed(input_ids)], dim=1), **given
    )
    with pytest.raises(BackendError, match=r"reads 6 tokens where it is given 3.*LoRA"):
        HfDraft(draft)


def test_what_is_no_model_of_transformers_is_refused():
    with pytest.raises(BackendError, match="no model of transformers"):
        HfDraft(torch.nn.Linear(2, 2))


def test_a_model_that_is_wrapped_later_is_tried_again(tuned):
    loop = ahead()
    wrapped = tuned.prepare_inputs_for_generation
    del tuned.prepare_inputs_for_generation
    assert fast(tuned, loop) == plain(tuned)
    tuned.prepare_inputs_for_generation = wrapped
    with pytest.raises(BackendError, match="more than its tokens"):
        fast(tuned, loop)


class Adapted(torch.nn.Module):
    """A model around a model that hands on what it is given, like peft's."""

    def __init__(self, model):
        super().__init__()
        self.base = model

    def forward(self, *args, **kwargs):
        return self.base(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


def test_a_wrapper_that_hands_on_what_it_is_given_drafts():
    seen = []
    draft = Adapted(noisy_copy(MODEL))
    loop = paceline.hf.adaptive(
        draft, policy={"name": "static", "gamma": 4}, on_round=lambda row, done: seen.append(done.accepted)
    )
    assert fast(MODEL, loop) == plain(MODEL)
    assert sum(seen) > 0


def test_a_model_that_counts_padding_is_refused_behind_padding_alone():
    config = CONFIG_MAPPING["trocr"](
        vocab_size=VOCABULARY, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48,
        pad_token_id=0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    loop = ahead()
    assert fast(model, loop) == plain(model)
    rows = {
        "ids": torch.tensor([[0, 0, 4], [3, 1, 4]]),
        "attention_mask": torch.tensor([[0, 0, 1], [1, 1, 1]]),
    }
    with pytest.raises(BackendError, match="counts padding as text"):
        fast(model, loop, **rows)
    rows["attention_mask"] = torch.ones_like(rows["ids"])
    assert fast(model, loop, **rows) == plain(model, **rows)


def test_a_model_without_a_cache_is_not_called_recurrent():
    config = CONFIG_MAPPING["openai-gpt"](vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    with pytest.raises(BackendError, match="fills no key-value cache"):
        HfTarget(AutoModelForCausalLM.from_config(config).eval())


def test_what_a_model_is_comes_before_what_it_is_given():
    t5 = AutoModelForSeq2SeqLM.from_config(
        CONFIG_MAPPING["t5"](
            vocab_size=64, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
        )
    ).eval()
    mamba = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING["mamba"](vocab_size=64, hidden_size=16, state_size=4, num_hidden_layers=1)
    ).eval()
    for model, why in ((t5, "encoder-decoder"), (mamba, "Recurrent")):
        with pytest.raises(BackendError, match=why):
            fast(model, ahead())


@pytest.mark.parametrize("problem", [AssertionError("no"), AttributeError("no"), KeyError("no")])
def test_whatever_a_model_raises_when_it_is_tried_is_said_with_its_name(problem):
    model = copy.deepcopy(MODEL)

    def fails(*args, **kwargs):
        raise problem

    model.model.layers[0].forward = fails
    with pytest.raises(BackendError, match=r"LlamaForCausalLM.*no"):
        HfTarget(model)


def test_a_vocabulary_that_was_resized_is_the_new_one_from_the_next_call_on():
    model, draft = copy.deepcopy(MODEL), noisy_copy(MODEL)
    loop = ahead(draft)
    target, helper = HfTarget(model), HfDraft(draft)
    assert fast(model, loop) == plain(model)
    model.resize_token_embeddings(VOCABULARY + 8)
    draft.resize_token_embeddings(VOCABULARY + 8)
    new = torch.tensor([[3, VOCABULARY + 5, 4]])
    assert fast(model, loop, new) == plain(model, new)
    assert target.vocabulary == helper.vocabulary == VOCABULARY + 8
    assert target.open(new[0].tolist()).verify(None).tokens == (plain(model, new)[0][3],)
    model.resize_token_embeddings(VOCABULARY - 40)
    assert fast(model, loop) == plain(model)


def test_a_model_that_was_cast_is_tried_again():
    model = copy.deepcopy(MODEL)
    loop = ahead()
    fast(model, loop)
    first = loop._known[model]
    model.to(torch.float32)
    assert fast(model, loop) == plain(model)
    assert loop._known[model] is not first
    assert loop._known[model].facts.basis != first.facts.basis


def test_a_model_that_nobody_needs_is_let_go_of():
    loop, model = ahead(noisy_copy(MODEL)), copy.deepcopy(MODEL)
    fast(model, loop)
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
    assert not loop._known


def test_training_mode_of_a_draft_is_given_back_module_by_module():
    draft = noisy_copy(MODEL)
    draft.train()
    draft.model.norm.eval()
    before = [module.training for module in draft.modules()]
    loop = ahead(draft)
    assert fast(MODEL, loop) == plain(MODEL)
    assert [module.training for module in draft.modules()] == before

    def stop(row, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fast(MODEL, ahead(draft, on_round=stop))
    assert [module.training for module in draft.modules()] == before


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def letters(order):
    """Return a tokenizer of single letters, written without spaces between."""
    return tokenizer_of(order, clean_up_tokenization_spaces=False)


def test_a_draft_with_another_vocabulary_is_refused_with_the_way_out():
    draft = tiny_model("llama", vocab_size=2000)
    with pytest.raises(BackendError, match=r"'small'.*2000 tokens.*96.*assistant_tokenizer"):
        fast(MODEL, ahead(draft))
    with pytest.raises(BackendError, match="target's tokenizer"):
        ahead(draft, assistant_tokenizer=tokenizer_of())


def test_a_draft_with_another_tokenizer_is_re_encoded_where_both_are_given():
    ours, theirs = tokenizer_of(LETTERS), tokenizer_of(LETTERS[::-1])
    for vocabulary in (VOCABULARY, 2000):
        draft = tiny_model("llama", vocab_size=vocabulary)
        loop = ahead(draft, tokenizer=ours, assistant_tokenizer=theirs)
        assert fast(MODEL, loop) == plain(MODEL)
        assert type(loop._known[MODEL].drafts["small"]).__name__ == "TranslatedDraft"
    alike = ahead(noisy_copy(MODEL), tokenizer=ours, assistant_tokenizer=tokenizer_of(LETTERS))
    assert fast(MODEL, alike) == plain(MODEL)
    assert isinstance(alike._known[MODEL].drafts["small"], HfDraft)
