"""The package from outside: without Ray, and as its pages describe it."""

import re
import subprocess
import sys
from pathlib import Path

import typer

from paceline_ray.cli import app

ROOT = Path(__file__).resolve().parents[1]


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
        "from paceline import BackendError\nfrom paceline_ray import actor\n"
        "try:\n    actor.ray('ray.serve')\nexcept BackendError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[]\n")
    assert "pip install 'ray[serve,data]>=2.60'" in done.stdout


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
