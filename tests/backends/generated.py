"""Text of transformers' own `generate`, which everything here is held against."""

import torch


def generated(model, prompt, max_new_tokens, eos=frozenset()):
    """Return the new tokens that `generate` of transformers writes greedily."""
    ids = torch.tensor([prompt], device=model.device)
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(eos) or None,
        pad_token_id=0,
    )
    return tuple(written[0, len(prompt) :].tolist())
