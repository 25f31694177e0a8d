"""A chat model in a folder: the embedded target under a chat template. It answers, if not to the point."""

from pathlib import Path

from transformers import AutoTokenizer

from paceline.backends.embedded.config import WEIGHTS

TEMPLATE = (
    "{% for message in messages %}# {{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}def {% endif %}"
)


def write_chat_model(folder: Path) -> Path:
    """Write the model into `folder`, which must not be there yet."""
    folder.mkdir(parents=True)
    for file in (WEIGHTS / "target").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder
