"""The shipped prompts can be read and told apart."""

import json

from paceline.backends.embedded import prompts as module
from paceline.backends.embedded.prompts import Prompt, prompts


def test_prompts_are_read_in_the_order_of_the_file(tmp_path, monkeypatch):
    listed = [{"id": name, "kind": "code", "text": f"# {name}", "source": "here"} for name in ("b", "a")]
    monkeypatch.setattr(module, "FILE", tmp_path / "prompts.json")
    module.FILE.write_text(json.dumps(listed))
    assert prompts() == (Prompt("b", "code", "# b", "here"), Prompt("a", "code", "# a", "here"))
