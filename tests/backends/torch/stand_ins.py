"""Tiny tokenizers and model folders, so that loading can be tried without a download."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ..tiny_models import tiny_model

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tokenizer_of(letters=LETTERS, *, bos=None, eos=None, unknown=True, **options):
    """Return a tokenizer of single letters: id k is the k-th letter, specials come after."""
    names = [*letters, *(["<unk>"] if unknown else []), *(name for name in (bos, eos) if name)]
    ids = {name: index for index, name in enumerate(names)}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>" if unknown else None))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"unk_token": "<unk>"} if unknown else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, **special, **options
    )


def folder_of(path, *, tokenizer=None, **changes):
    """Write a tiny Llama, and a tokenizer if there is one; return the folder's name."""
    tiny_model("llama", **changes).save_pretrained(path)
    if tokenizer is not None:
        tokenizer.save_pretrained(path)
    return str(path)
