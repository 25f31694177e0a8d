"""Choose the prompts that are shipped with the pair, from held-out documents and by rule alone."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from .corpus import KINDS, Document, name_hash

UNFAMILIAR = {
    "bread": (
        "Mix the flour and the salt in a wide bowl, make a well in the middle and pour in the warm water. Stir with "
        "your hand until no dry flour is left, then cover the bowl and leave it by the stove. After an hour the dough "
        "should have doubled. Fold it over itself four times, and"
    ),
    "harbour": (
        "The old harbour master had seen three ships come in that winter, and not one of them had gone out again. He "
        "kept their names in a green book beside the lamp. On the last night of the year the wind turned north, and "
        "from the end of the pier he saw a light where no light should be. He took his coat and"
    ),
    "river": (
        "Slow river, brown with rain,\nyou carry the hill to the sea\na spoonful at a time.\n\nThe willow bends to "
        "read you,\nthe heron reads you too;\nI sit on the stones and wait"
    ),
    "letter": (
        "Dear Martha,\n\nThank you for the jam, which came safely and is already half gone. The children have been "
        "asking when you will visit us. The apple trees are late this year, but the garden is full of birds, and the "
        "room above the kitchen has been painted at last. If you take the morning train on Friday,"
    ),
    "football": (
        "The match had been played for eighty minutes without a goal when the rain began. The visitors had lost their "
        "captain to an injury before the break, and since then they had hardly left their own half. Then a long ball "
        "out of defence found the youngest player on the pitch, who"
    ),
}
SHORTEST, LONGEST = 56, 120


def _cut(tokenizer: PreTrainedTokenizerBase, text: str) -> str | None:
    """Return a passage of the text that starts after an empty line and ends with a line."""
    lines = text.splitlines(keepends=True)
    for first in range(len(lines) // 3, len(lines) - 1):
        if (first and lines[first - 1].strip()) or not lines[first].strip():
            continue
        passage = ""
        for line in lines[first:]:
            if len(tokenizer(passage + line)["input_ids"]) > LONGEST:
                break
            passage += line
        # The last line break is the model's to write; a prompt that ends in it hides a token boundary.
        passage = passage.rstrip()
        if len(tokenizer(passage)["input_ids"]) >= SHORTEST:
            return passage
    return None


def choose(
    documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase, each: int = 5
) -> list[dict[str, str]]:
    """Return `each` prompts of every kind, in the order of the documents' hashes, and the unfamiliar ones."""
    chosen: list[dict[str, str]] = []
    ordered = sorted((d for d in documents if d.held_out), key=lambda d: name_hash("prompt " + d.name))
    for kind in KINDS:
        count = 0
        for document in (d for d in ordered if d.kind == kind):
            text = _cut(tokenizer, document.text)
            if text is not None and count < each and all(p["text"] != text for p in chosen):
                count += 1
                chosen.append({"id": f"{kind}-{count}", "kind": kind, "text": text, "source": document.name})
    for name, text in UNFAMILIAR.items():
        chosen.append(
            {"id": f"unfamiliar-{name}", "kind": "unfamiliar", "text": text, "source": "written for Paceline"}
        )
    return chosen
