"""The package from outside: what it imports, what it does without Ray, and what its README says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import paceline
import paceline.testing
from paceline_ray.cli import app

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = {"paceline": set(paceline.__all__), "paceline.testing": set(paceline.testing.__all__)}
FILES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def taken_from_paceline(path):
    """Return module and name of everything that a file imports from paceline."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "paceline":
            found += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "paceline"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_public_names_of_paceline_are_imported(path):
    strange = [
        (module, name)
        for module, name in taken_from_paceline(path)
        if module not in PUBLIC or (name and name not in PUBLIC[module])
    ]
    assert strange == []


def test_the_check_of_imports_sees_some():
    assert "paceline" in {module for path in FILES for module, _ in taken_from_paceline(path)}


def test_every_module_can_be_imported_without_ray_and_torch():
    package = ROOT / "src" / "paceline_ray"
    names = [
        ".".join(("paceline_ray", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
        for path in package.rglob("*.py")
    ]
    lines = "\n".join(f"import {name}" for name in names)
    code = (
        "import sys\nsys.modules['ray'] = None\n"
        f"{lines}\nprint([name for name in ('torch', 'numpy', 'fastapi') if name in sys.modules])\n"
        "from paceline import BackendError\nfrom paceline_ray import needs\n"
        "try:\n    needs.serve()\nexcept BackendError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[]\n")
    assert "pip install 'ray[serve,data]>=2.60'" in done.stdout


def test_modules_are_small():
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path.name


def test_every_command_and_option_of_the_pages_exists():
    group = typer.main.get_command(app)
    pages = [ROOT / "README.md", ROOT.parents[1] / "docs" / "ray.md"]
    lines = [
        line
        for page in pages
        for block in re.findall(
            r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        for line in block.splitlines()
        if line.startswith("paceline-ray ")
    ]
    assert {line.split()[1] for line in lines} == set(group.commands)
    for line in lines:
        command = group.commands[line.split()[1]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_every_option_is_told_of_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert f"`{option}`" in text, f"{name} {option}"


def test_every_run_file_of_the_readme_loads(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
        paceline.load_config(tmp_path / "run.yaml")
