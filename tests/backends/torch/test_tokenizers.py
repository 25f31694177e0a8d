"""A conversation becomes the tokens that transformers itself makes of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.backends.torch.tokenizers import TokenizerCodec
from paceline.core.errors import BackendError

from .stand_ins import LETTERS, tokenizer_of

TEMPLATE = (
    "{{ bos_token }}{% if tools %}tools{% for tool in tools %}{{ tool.name }}{% endfor %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ m.role }}{{ m.content }}{% if loud %}x{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
TEXT = st.text(LETTERS, max_size=8)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}),
    min_size=1,
)
OPTIONS = st.fixed_dictionaries(
    {}, optional={"tools": st.lists(st.fixed_dictionaries({"name": TEXT})), "loud": st.booleans()}
)


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = tokenizer_of(bos="<begin>", eos="<end>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@settings(deadline=None)
@given(messages=MESSAGES, options=OPTIONS)
def test_a_conversation_is_rendered_as_transformers_does_up_to_where_the_answer_begins(
    tokenizer, messages, options
):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
    tokens = TokenizerCodec(tokenizer).encode_chat(messages, options)
    assert tokens == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokens[0] == tokenizer.bos_token_id != tokens[1]
    assert tokens[-9:] == tokenizer("assistant", add_special_tokens=False)["input_ids"]


def test_an_answer_that_has_begun_can_be_gone_on_with(tokenizer):
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bcd"}]
    options = {"add_generation_prompt": False, "continue_final_message": True}
    tokens = TokenizerCodec(tokenizer).encode_chat(messages, options)
    assert tokenizer.decode(tokens[-3:]).replace(" ", "") == "bcd"


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([{"role": "tool", "content": "a"}], {}),
        ([{"role": "user", "content": "a"}], {"tokenize": False}),
        ([{"role": "user", "content": "a"}], {"return_tensors": "pt"}),
        ([{"role": "user"}], {"continue_final_message": True}),
    ],
)
def test_what_the_template_or_transformers_refuses_is_an_error_of_the_backend(tokenizer, messages, options):
    with pytest.raises(BackendError, match=r"the chat template refuses these messages: .+"):
        TokenizerCodec(tokenizer).encode_chat(messages, options)


def test_a_tokenizer_without_a_template_makes_no_prompt_of_a_conversation():
    assert TokenizerCodec(tokenizer_of()).encode_chat([{"role": "user", "content": "a"}], {}) is None
