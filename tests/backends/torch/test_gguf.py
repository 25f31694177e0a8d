"""GGUF files in the backends of transformers: read by its own code, run by either engine."""

import pytest

import paceline

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")
tiny = pytest.importorskip(
    "paceline_llamacpp.tiny", reason="the plugin that writes small GGUF files is not here"
)

TEMPLATE = "{% for message in messages %}<{{ message['content'] }}>{% endfor %}"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A Llama of random weights whose tokens are letters."""
    path = tmp_path_factory.mktemp("gguf") / "letters.gguf"
    tokens = [chr(code) for code in range(33, 127)] + ["hi", "ok", "<|end|>"]
    shape = tiny.Shape(vocabulary=len(tokens))
    writer = tiny.header(path, shape)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["h i", "o k"])  # it reads a list of one as a text
    writer.add_bos_token_id(len(tokens) - 1)  # transformers 5.16 asks for one
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_chat_template(TEMPLATE)
    return tiny.finish(writer, tiny.random_weights(shape, 0), path)


@pytest.fixture(scope="module")
def texts(file):
    """Tokens that each engine writes, greedily."""
    blocks = {backend: {"target": {"backend": backend, "model": str(file)}} for backend in ("hf", "graph")}
    return {backend: decoded(block) for backend, block in blocks.items()}


def decoded(block):
    with paceline.load(block | {"drafts": {"lookup": {"backend": "prompt-lookup"}}}) as decoder:
        written = decoder.generate([3, 4, 5], max_new_tokens=24)
        chat = decoder.encode_chat([{"role": "user", "content": "ab"}])
        return written.tokens, decoder.encode("ab"), chat, decoder.target.eos


def test_both_engines_write_the_same_text(texts):
    assert texts["hf"] == texts["graph"]
    assert len(texts["hf"][0]) == 24


def test_tokenizer_template_and_end_come_from_the_file(texts):
    tokens, plain, chat, eos = texts["hf"]
    assert plain == [ord("a") - 33, ord("b") - 33]
    assert chat == [ord(letter) - 33 for letter in "<ab>"]
    assert eos == {96}


def test_nothing_but_the_model_is_heard_of_while_it_loads(file, capfd):
    paceline.load({"target": {"backend": "hf", "model": str(file)}, "drafts": {}}).close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("backend", ["hf", "graph"])
def test_a_damaged_file_is_refused_by_name(file, tmp_path, backend):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(file.read_bytes()[:200])
    with pytest.raises(paceline.BackendError, match=r"damaged\.gguf"):
        paceline.load({"target": {"backend": backend, "model": str(damaged)}, "drafts": {}})


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(paceline.BackendError, match=r"missing\.gguf"):
        paceline.load({"target": {"backend": "hf", "model": str(tmp_path / "missing.gguf")}, "drafts": {}})
