"""The wheel that users install, made from the source distribution: it holds all, and works without the sources."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "policies", "backends", "lab", "serving", "cli")
NOT_SHIPPED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "build", "dist", "runs", "*.egg-info"
)


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a source distribution and the wheel built from it."""
    base = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, base / "tree", symlinks=True, ignore=NOT_SHIPPED)
    run(sys.executable, "-Im", "build", "--no-isolation", "--outdir", base / "dist", base / "tree", cwd=base)
    return base / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def shipped_files() -> set[str]:
    """Return what the wheel must hold besides its metadata, as paths inside it."""
    files = {"paceline/__init__.py", "paceline/hf.py", "paceline/testing.py", "paceline/py.typed"}
    files.add("paceline_command/__init__.py")
    for folder in FOLDERS:
        files |= {f"paceline/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py")}
    embedded = ROOT / "backends" / "embedded"
    data = [
        *embedded.glob("*.json"),
        *embedded.glob("*.csv"),
        *embedded.glob("PROVENANCE.md"),
        *(embedded / "weights").rglob("*"),
        *(ROOT / "lab" / "report" / "templates").glob("*"),
        *(ROOT / "cli" / "templates").glob("*"),
        ROOT / "lab" / "workloads" / "chat.jsonl",
    ]
    return files | {f"paceline/{path.relative_to(ROOT).as_posix()}" for path in data if path.is_file()}


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    assert names == shipped_files()
    assert "paceline/cli/app.py" in names
    assert not any("tools" in Path(name).parts or "recipe" in name for name in names)


def test_the_wheel_carries_licence_entry_points_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        text = archive.read(entry_points).decode()
    assert any(name.endswith("LICENSE") for name in names)
    assert "paceline.policies = paceline.policies" in text
    assert "paceline.backends = paceline.backends" in text
    assert "paceline = paceline_command:main" in text


def test_the_source_distribution_holds_tests_docs_and_build_files_and_the_weights_once(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "Makefile",
        "constraints.txt",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        ".ci/run",
        "tests/test_wheel.py",
        "tools/__main__.py",
    }
    assert wanted - names == set()
    assert [name for name in names if "plugins" in Path(name).parts[:1] or "banditspec" in name] == []
    weights = [name for name in names if name.endswith(".safetensors")]
    assert len(weights) == len({Path(name).parts[-2:] for name in weights})


def test_the_installed_wheel_decodes_without_the_sources(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    run(
        sys.executable, "-Im", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", site, wheel,
        cwd=tmp_path,
    )  # fmt: skip
    code = f"""
import json, sys
sys.path.insert(0, {str(site)!r})
import paceline
toy = {{"backend": "toy", "seed": 3}}
decoder = paceline.load({{"target": toy, "drafts": {{"small": toy}}, "policy": "online"}})
done = decoder.generate("hello", max_new_tokens=20)
print(json.dumps([paceline.__file__, len(done.tokens), "torch" in sys.modules]))
"""
    found, emitted, torch_loaded = json.loads(run(sys.executable, "-I", "-c", code, cwd=tmp_path))
    assert Path(found).is_relative_to(site)
    assert (emitted, torch_loaded) == (20, False)
