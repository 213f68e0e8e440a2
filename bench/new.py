"""Create an architecture to start from: a module and its YAML, which pass all checks as they are.

  python -m bench.new mine                   my_architectures/mine.py, …/conf/arch/mine.yaml
  python -m bench.new mine --into folder     the same two below another folder

Nothing is overwritten. Exit codes: 0 written, 2 a mistake in the command, 130 Ctrl-C.
"""

import argparse
import importlib.util
import keyword
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bench.cli.command import command
from bench.cli.composer import conf_folder
from bench.config.errors import Parser, UserError
from bench.config.plugins import installed_folders

DEFAULT_FOLDER = "my_architectures"
TEMPLATES = {"architecture.py.txt": "{name}.py", "architecture.yaml.txt": "conf/arch/{name}.yaml"}
NEXT_STEPS = """
It works as it is. Change forward, init_state and flops together, and check each change:
  {command} -m bench.check {where} arch={name}
Then train it (several at once: arch=a,b -m):
  {command} -m bench.run {where} arch={name} size=tiny"""


def parse_arguments(arguments: Sequence[str]) -> tuple[str, Path]:
    """Return the name and the folder. Raise UserError for a name that cannot be used."""
    parser = Parser(
        prog="python -m bench.new",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="of module, YAML and class: lower-case letters, digits and _")
    parser.add_argument(
        "--into", default=DEFAULT_FOLDER, help=f"folder of both (default: {DEFAULT_FOLDER})"
    )
    options = parser.parse_args(arguments)
    check_name(options.name)
    return options.name, Path(options.into)


def check_name(name: str) -> None:
    """Raise UserError for a name that Python or Hydra rejects, or that is taken."""
    if not (name.isidentifier() and name.isascii() and name.islower()) or keyword.iskeyword(name):
        raise UserError(
            f"{name} is not a name for a module: use lower-case letters, digits and _, beginning "
            "with a letter, as in my_mixer"
        )
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise UserError(
            f"{name} is an existing module: use another name, as in my_{name}", "duplicate-name"
        )
    for owner, folder in [("the project", conf_folder()), *installed_folders()]:
        if (folder / "arch" / f"{name}.yaml").exists():
            raise UserError(
                f"arch={name} is defined by {owner} ({folder}): use another name, as in my_{name}",
                "duplicate-name",
            )


def module_path(name: str, into: Path) -> tuple[str, str]:
    """Return the module's dotted name, as imported from here, and the command of Python for it."""
    folder = into.resolve()
    if folder.is_relative_to(Path.cwd()):
        parts = folder.relative_to(Path.cwd()).parts
        if all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
            return ".".join((*parts, name)), "python"
    return name, f"PYTHONPATH={into} python"


def write_files(name: str, into: Path) -> list[Path]:
    """Write module and YAML. Raise UserError where one exists or cannot be written."""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    values = {"@NAME@": name, "@MODULE@": module_path(name, into)[0], "@CLASS@": class_name}
    paths = {into / target.format(name=name): template for template, target in TEMPLATES.items()}
    for path in paths:
        if path.exists():
            raise UserError(
                f"{path} exists, and nothing was written: use another name or another --into",
                "duplicate-name",
            )
    for path, template in paths.items():
        text = files("bench").joinpath("templates", template).read_text(encoding="utf-8")
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): name another folder with --into",
                "not-writable",
            ) from None
    return list(paths)


@command(stopped="nothing was overwritten")
def main(arguments: Sequence[str]) -> int:
    """Write the files and print the next steps."""
    name, into = parse_arguments(arguments)
    written = write_files(name, into)
    print("\n".join(f"wrote {path}" for path in written))
    where = f"--config-dir {into / 'conf'}"
    print(NEXT_STEPS.format(command=module_path(name, into)[1], where=where, name=name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
