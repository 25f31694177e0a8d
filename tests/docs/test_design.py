"""The map of the tree and the page on its design name what is there."""

import re
from pathlib import Path

import pytest

import design_picture

ROOT = Path(__file__).resolve().parents[2]
DESIGN = ROOT / "docs" / "design.md"
MAPS = (ROOT / "CONTRIBUTING.md", DESIGN)


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.name)
def test_a_map_names_every_folder_of_code_and_no_other(page: Path) -> None:
    mapped = set(re.findall(r"^\| `(\w+)/` \|", text(page), re.MULTILINE))
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"plugins", "tools"}
    folders |= {"tests"} if page.name == "CONTRIBUTING.md" else set()
    assert mapped == folders


def test_every_file_that_the_pages_name_is_there() -> None:
    named = {name for page in MAPS for name in re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?)`", text(page))}
    assert named
    inner = ("", "*/")  # a row of the map may name folders inside its own
    assert {name for name in named if not any(any(ROOT.glob(f"{at}{name}")) for at in inner)} == set()


def test_the_page_follows_the_picture_step_by_step() -> None:
    steps = [box.name.split()[0] for box in design_picture.BOXES.values()]
    assert sorted(map(int, steps)) == list(range(1, len(steps) + 1))
    assert {step for step in steps if f"({step})" not in text(DESIGN)} == set()
    lanes = {box.lane for box in design_picture.BOXES.values()}
    assert {lane for lane in lanes if not (ROOT / lane).is_dir()} == set()


def test_what_the_picture_names_is_defined() -> None:
    code = "".join(text(path) for folder in ("core", "cli") for path in (ROOT / folder).rglob("*.py"))
    names = {box.name.split()[-1].rpartition(".")[2] for box in design_picture.BOXES.values()}
    assert {name for name in names if not re.search(rf"(def|class) {name}\b", code)} == set()
