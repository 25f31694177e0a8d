"""The drop-in decodes on the graph engine where nothing of the user's is lost, says what it does, and sees changes."""

import copy
import gc
import weakref
from functools import partial

import pytest
import structlog
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    LlamaForCausalLM,
    StoppingCriteriaList,
)
from transformers.models.llama.modeling_llama import LlamaMLP

import paceline.hf
from paceline.backends.transformers import engine_choice
from paceline.backends.transformers.host.cache import CACHE, windows_record_many_passes
from paceline.core.errors import BackendError

from ..tiny_models import noisy_copy, tiny_model

torch.set_num_threads(1)

MODEL = tiny_model("llama")
DRAFT = noisy_copy(MODEL)
IDS = torch.tensor([[3, 1, 4, 1, 5]])
WARM_UP = 24
SHARED = {"max_new_tokens": 20, "pad_token_id": 0, "do_sample": False}


def adaptive(engine="auto", **options):
    return paceline.hf.adaptive(DRAFT, policy={"name": "static", "gamma": 4}, engine=engine, **options)


def plain(model, ids=IDS, **options):
    return model.generate(ids, **{**SHARED, **options})


def fast(model, loop, ids=IDS, **options):
    return model.generate(ids, **{**SHARED, **options}, custom_generate=loop)


def chosen(model, loop, **options):
    """Return the engine and the reason that are logged while a model decodes as `generate` does."""
    with structlog.testing.capture_logs() as lines:
        assert fast(model, loop, **options).tolist() == plain(model, **options).tolist()
    return [(line["engine"], line["reason"]) for line in lines if line["event"] == "engine_chosen"]


def warm(model, loop):
    """Let a model write as many tokens as are written before its weights are packed."""
    fast(model, loop, max_new_tokens=WARM_UP)


@pytest.fixture(autouse=True)
def warm_up(monkeypatch):
    """Let weights be packed sooner than they are, so that texts may be short."""
    monkeypatch.setattr(engine_choice, "WARM_UP", WARM_UP)


@pytest.fixture
def model():
    return copy.deepcopy(MODEL)


@pytest.fixture
def built(monkeypatch):
    """Return the models that engines were made for."""
    names = []
    made = engine_choice._packed
    monkeypatch.setattr(engine_choice, "_packed", lambda own: names.append(own.name) or made(own))
    return names


class Scaled(nn.Module):
    def forward(self, weight):
        return 1.5 * weight


class Adapted(nn.Module):
    """A linear module with an adapter beside it, as peft puts there."""

    def __init__(self, base):
        super().__init__()
        self.base_layer, self.extra = base, nn.Linear(32, 32, dtype=torch.float64)

    @property
    def weight(self):
        return self.base_layer.weight

    @property
    def bias(self):
        return None

    def forward(self, rows):
        return self.base_layer(rows) + self.extra(rows)


class Louder(nn.Linear):
    def forward(self, rows):
        return 2 * super().forward(rows)


class Marked(torch.Tensor):
    pass


class TheirLlama(LlamaForCausalLM):
    pass


def wrap(module):
    module.forward = lambda *args, own=module.forward, **given: own(*args, **given)


def set_weight(module, weight):
    del module.weight
    module.weight = nn.Parameter(weight, requires_grad=False)


def made_in_inference_mode(model):
    with torch.inference_mode():
        weight = model.lm_head.weight.clone()
    set_weight(model.lm_head, weight)


def their_attention(model):
    sdpa = AttentionInterface()["sdpa"]
    AttentionInterface.register("theirs", partial(sdpa))
    AttentionMaskInterface.register("theirs", AttentionMaskInterface()["sdpa"])
    model.config._attn_implementation = "theirs"


ATTENTION, MLP = (lambda model: model.model.layers[1].self_attn), (lambda model: model.model.layers[0].mlp)

ALTERATIONS = {
    r"mlp has a forward hook": lambda m: MLP(m).register_forward_hook(lambda *_: None),
    r"self_attn has a forward hook": lambda m: ATTENTION(m).register_forward_pre_hook(lambda *_: None),
    r"mlp has another forward than its class": lambda m: wrap(MLP(m)),
    r"the model has another forward than its class": wrap,
    r"mlp has another _compiled_call_impl": lambda m: setattr(
        MLP(m), "_compiled_call_impl", MLP(m)._call_impl
    ),
    r"the model has another prepare_inputs_for_generation": lambda m: setattr(
        m, "prepare_inputs_for_generation", m.prepare_inputs_for_generation
    ),
    r"up_proj is a .*ParametrizedLinear": lambda m: parametrize.register_parametrization(
        MLP(m).up_proj, "weight", Scaled()
    ),
    r"q_proj is a .*Adapted": lambda m: setattr(ATTENTION(m), "q_proj", Adapted(ATTENTION(m).q_proj)),
    r"o_proj is a .*Louder": lambda m: setattr(ATTENTION(m).o_proj, "__class__", Louder),
    r"it is a .*TheirLlama": lambda m: setattr(m, "__class__", TheirLlama),
    r"lm_head.weight is a .*Marked": lambda m: set_weight(
        m.lm_head, m.lm_head.weight.detach().clone().as_subclass(Marked)
    ),
    r"lm_head.weight was made in inference mode": made_in_inference_mode,
    r"attention is not .*'theirs'": their_attention,
    r"not of one number format": lambda m: m.model.norm.float(),
    r"gives other logits": lambda m: setattr(ATTENTION(m), "scaling", 1.0),
    r"has no attribute 'weight'": lambda m: setattr(
        MLP(m), "up_proj", nn.Sequential(MLP(m).up_proj, nn.Dropout(0.5))
    ),
}
"""Lines of the log -> changes made to a model."""


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_whatever_only_the_models_own_pass_honours_keeps_it_there_and_is_named(alter, model, request):
    alter(model)
    reason = request.node.callspec.id
    loop = adaptive()
    warm(model, loop)
    assert [engine for engine, _ in chosen(model, loop)] in (
        [],
        ["hf"],
    )  # said once, by the first call or this one
    with pytest.raises(BackendError, match=rf"engine='graph'.*{reason}.*leave `engine` out"):
        fast(model, adaptive("graph"))


def test_it_is_said_once_for_a_model_what_decodes_it_and_why(model):
    loop = adaptive()
    MLP(model).register_forward_hook(lambda *_: None)
    ((engine, reason),) = chosen(model, loop)
    assert engine == "hf"
    assert "model.layers.0.mlp has a forward hook" in reason
    assert chosen(model, loop) == []
    assert chosen(model, adaptive()) == []


def test_hooks_for_all_modules_are_seen(model):
    handles = [
        nn.modules.module.register_module_forward_hook(lambda *_: None),
        nn.modules.module.register_module_forward_pre_hook(lambda *_: None),
    ]
    for handle in handles:
        try:
            with pytest.raises(BackendError, match="hooks are registered for all modules"):
                fast(model, adaptive("graph"))
        finally:
            handle.remove()
    assert chosen(model, adaptive("graph")) == [("graph", None)]


def test_a_class_whose_forward_pass_was_replaced_is_seen(model, monkeypatch):
    own = LlamaMLP.forward

    def theirs(self, rows):
        return own(self, rows)

    theirs.__module__ = own.__module__  # as functools.wraps leaves it
    monkeypatch.setattr(LlamaMLP, "forward", theirs)
    with pytest.raises(BackendError, match="class whose forward pass was replaced"):
        fast(model, adaptive("graph"))


def test_attention_that_was_replaced_under_its_name_is_seen(model, monkeypatch):
    own = AttentionInterface._global_mapping["sdpa"]
    monkeypatch.setitem(AttentionInterface._global_mapping, "sdpa", partial(own))
    with pytest.raises(BackendError, match="attention is not"):
        fast(model, adaptive("graph"))


def test_hooks_that_transformers_leaves_behind_are_no_hindrance(model):
    model(IDS, output_hidden_states=True)
    assert chosen(model, adaptive("graph")) == [("graph", None)]


def test_numbers_that_are_converted_on_the_way_keep_the_models_own_pass(model):
    model.float()
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(BackendError, match="autocast"):
        fast(model, adaptive("graph"))


def test_what_a_call_asks_for_may_keep_it_on_the_models_own_pass():
    short = tiny_model("llama", max_position_embeddings=32)
    asked = {"return_dict_in_generate": True, "output_scores": True}
    for model, options, reason in (
        (short, {"max_new_tokens": 28}, "longer than the 32 tokens"),
        (MODEL, asked, "scores or logits are asked for"),
        (tiny_model("gpt2"), {}, "is a gpt2 model"),
        (tiny_model("mistral"), {}, "longer than the 8 tokens"),
    ):
        with pytest.raises(BackendError, match=reason):
            fast(model, adaptive("graph"), **options)
    assert fast(MODEL, adaptive(), **asked).sequences.tolist() == plain(MODEL).tolist()
    assert chosen(short, adaptive("graph"), max_new_tokens=27) == [("graph", None)]


def test_a_device_where_packing_gains_nothing_keeps_the_models_own_pass(model, monkeypatch):
    target = paceline.hf.HfTarget(model)
    monkeypatch.setattr(type(target.engine), "device", torch.device("cuda:0"))
    assert "it is on cuda:0" in engine_choice._unfit(target)


def test_no_copy_is_made_where_it_would_take_more_than_half_of_the_memory_that_is_free(model, monkeypatch):
    needed = sum(weight.nbytes for weight in model.parameters() if weight.dim() > 1)
    monkeypatch.setattr(engine_choice, "free_memory", lambda device: 2 * needed - 1)
    loop = adaptive()
    warm(model, loop)
    ((engine, reason),) = chosen(model, loop)
    assert engine == "hf"
    assert "more than half of the memory" in reason
    monkeypatch.setattr(engine_choice, "free_memory", lambda device: 2 * needed)
    assert chosen(model, loop) == [("graph", None)]


def test_weights_are_packed_once_enough_was_written_in_the_middle_of_a_text_or_between_two(model, built):
    loop = adaptive()
    assert (
        fast(model, loop, max_new_tokens=WARM_UP - 20).tolist()
        == plain(model, max_new_tokens=WARM_UP - 20).tolist()
    )
    assert built == []
    assert chosen(model, loop, max_new_tokens=40) == [("graph", None)]
    assert len(built) == 1
    assert chosen(model, loop) == []
    assert chosen(model, adaptive()) == []
    assert len(built) == 1


def test_a_text_that_is_drawn_or_a_batch_changes_its_engine_between_calls_alone(model, built):
    loop = adaptive()
    fast(model, loop, max_new_tokens=WARM_UP + 20, do_sample=True)
    assert built == []
    rows = IDS.repeat(3, 1)
    shared = {"max_new_tokens": WARM_UP + 20, "attention_mask": torch.ones_like(rows)}
    other = copy.deepcopy(MODEL)
    for packed in (0, 1):
        assert fast(other, loop, rows, **shared).tolist() == plain(other, rows, **shared).tolist()
        assert len(built) == packed


def test_stop_criteria_hear_of_the_whole_text_where_its_engine_changes(model):
    shown = []

    class Listens:
        def __call__(self, input_ids, scores, **given):
            shown.append(input_ids[0].tolist())
            return torch.tensor([False])

    options = {"max_new_tokens": WARM_UP + 30}
    loop = adaptive()
    written = fast(model, loop, stopping_criteria=StoppingCriteriaList([Listens()]), **options)[0].tolist()
    assert shown == [written[:end] for end in range(IDS.shape[1] + 1, len(written) + 1)]


def test_the_models_own_pass_is_kept_where_it_is_asked_for(model, built):
    loop = adaptive("hf")
    warm(model, loop)
    assert chosen(model, loop) == []
    assert built == []


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(BackendError, match=r"'transformers' is not one of 'auto', 'hf', 'graph'"):
        adaptive("transformers")


def test_what_is_hung_in_later_is_seen_and_so_is_its_end(model, built):
    loop, seen = adaptive("graph"), []
    fast(model, loop)
    handle = MLP(model).register_forward_hook(lambda *_: seen.append(1))
    with pytest.raises(BackendError, match="mlp has a forward hook"):
        fast(model, loop)
    relaxed = adaptive()
    assert fast(model, relaxed).tolist() == plain(model).tolist()
    assert seen
    handle.remove()
    assert fast(model, loop).tolist() == plain(model).tolist()
    assert len(built) == 2


def trained(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    model(IDS, labels=IDS).loss.backward()
    optimizer.step()


def loaded(model, **options):
    model.load_state_dict({name: each + 0.1 for name, each in model.state_dict().items()}, **options)


def merged(model):
    """Write an adapter into a matrix as peft does, which torch does not count."""
    weight = MLP(model).down_proj.weight
    ends = torch.linspace(-1, 1, 32, dtype=torch.float64), torch.linspace(-1, 1, 48, dtype=torch.float64)
    weight.data += torch.outer(*ends)


def one_row(model):
    model.lm_head.weight.data[7] *= 3


CHANGES = {
    "a step of an optimizer": trained,
    "other weights": loaded,
    "other weights in their place": lambda model: loaded(model, assign=True),
    "an adapter merged": merged,
    "one row written through .data": one_row,
    "a norm": lambda model: model.model.norm.weight.data.mul_(
        torch.linspace(0.1, 4, 32, dtype=torch.float64)
    ),
    "a number of a module": lambda model: setattr(ATTENTION(model), "scaling", 2.0),
    "a buffer": lambda model: model.model.rotary_emb.inv_freq.mul_(0.5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_that_was_changed_in_place_is_seen_before_the_next_token(change, model):
    loop, options = adaptive(), {"max_new_tokens": WARM_UP - 4}
    warm(model, loop)
    before = plain(model, **options).tolist()
    assert chosen(model, loop, **options) == [("graph", None)]
    change(model)
    after = plain(model, **options).tolist()
    assert after != before
    # The first call is before it pays to pack once more, the second changes engines on the way.
    for _ in range(3):
        assert fast(model, loop, **options).tolist() == after


def test_packed_weights_are_let_go_of_with_the_model():
    model, loop = copy.deepcopy(MODEL), adaptive("graph")
    fast(model, loop)
    engine = weakref.ref(engine_choice._records[model].engine)
    seen = weakref.ref(model)
    assert engine() is not None
    del model
    gc.collect()
    assert seen() is None
    assert engine() is None


def test_packed_weights_are_let_go_of_when_something_is_hung_into_the_model(model):
    loop = adaptive()
    fast(model, adaptive("graph"))
    engine = weakref.ref(engine_choice._records[model].engine)
    MLP(model).register_forward_hook(lambda *_: None)
    fast(model, loop)
    gc.collect()
    assert engine() is None


@pytest.mark.parametrize("read", [0, 3])
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_a_cache_is_gone_on_with_and_left_as_generate_would_leave_it(family, read):
    if family == "mistral" and read and not windows_record_many_passes():
        pytest.skip("this release cannot go on with a filled window")
    model = tiny_model(family, **({"sliding_window": 64} if family == "mistral" else {}))

    def cache():
        made = DynamicCache(config=model.config) if read else DynamicCache()
        if read:
            with torch.no_grad():
                model(IDS[:, :read], **{CACHE: made})
        return made

    ours, theirs = cache(), cache()
    loop = adaptive("graph")
    found = fast(model, loop, **{CACHE: ours})
    assert found.tolist() == plain(model, **{CACHE: theirs}).tolist()
    assert ours.get_seq_length() == theirs.get_seq_length()
    for left, right in zip(ours.layers, theirs.layers, strict=True):
        torch.testing.assert_close(left.keys, right.keys[:, :, -left.keys.shape[-2] :])
        torch.testing.assert_close(left.values, right.values[:, :, -left.values.shape[-2] :])
    longer = torch.cat([found, torch.tensor([[8, 9]])], dim=1)
    assert fast(model, loop, longer, **{CACHE: ours}).tolist() == plain(model, longer).tolist()


def test_a_cache_stays_as_it_was_where_decoding_is_cut_off():
    def stop(row, done):
        raise KeyboardInterrupt

    cache = DynamicCache()
    with torch.no_grad():
        MODEL(IDS[:, :3], **{CACHE: cache})
    with pytest.raises(KeyboardInterrupt):
        fast(MODEL, adaptive("graph", on_round=stop), **{CACHE: cache})
    assert cache.get_seq_length() == 3
    assert fast(MODEL, adaptive("graph"), **{CACHE: cache}).tolist() == plain(MODEL).tolist()
