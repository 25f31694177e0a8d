"""The site: every page is there, every link leads somewhere, and all that is public has its reference."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    if not (ROOT / ".git").exists():
        pytest.skip("the pages are those that git knows")
    folder = tmp_path_factory.mktemp("website") / "site"
    command = [sys.executable, "-I", "tools", "website", "--out", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # a dead link or an unknown name is an error
    return folder


def test_every_page_of_the_docs_is_a_page_of_the_site_and_in_its_navigation(site):
    pages = {path.relative_to(ROOT).with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages if not (site / page).exists()] == []
    listed = (ROOT / "tools" / "mkdocs.yml").read_text("utf-8")
    assert [page for page in pages if f"{page.with_suffix('.md')}\n" not in listed] == [
        Path("docs/index.html")
    ]


def test_every_public_name_has_its_heading_in_the_reference(site):
    modules = re.split(
        r"^\[(.+)\]$", (ROOT / "tests" / "public_api.txt").read_text("utf-8"), flags=re.MULTILINE
    )
    for module, names in zip(modules[1::2], modules[2::2], strict=True):
        page = (site / "reference" / f"{module}.html").read_text("utf-8")
        public = re.findall(r"^(?:class |def )?(\w+)", names, re.MULTILINE)
        assert [
            name for name in public if f">{name}<" not in page and f'id="{name.lower()}"' not in page
        ] == []


def test_source_files_that_pages_name_can_be_read(site):
    assert "OnlineConfig" in (site / "policies" / "online.py.html").read_text("utf-8")
