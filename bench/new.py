"""Write an architecture to start from: a file and its YAML, which keep the whole contract as they are.

  python -m bench.new mine                   my_architectures/mine.py and my_architectures/conf/arch/mine.yaml
  python -m bench.new mine --into folder     the same two below another folder

Nothing is ever overwritten. Exit codes: 0 written, 2 a mistake in what was asked.
"""

import argparse
import importlib.util
import keyword
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bench.cli.command import command
from bench.cli.compose import conf_folder
from bench.config.errors import Parser, UserError
from bench.config.plugins import installed_folders

DEFAULT_FOLDER = "my_architectures"
TEMPLATES = {"architecture.py.txt": "{name}.py", "architecture.yaml.txt": "conf/arch/{name}.yaml"}


def parse_arguments(arguments: Sequence[str]) -> tuple[str, Path]:
    """The name and the folder. Raises UserError for a name that Python or Hydra would not take."""
    parser = Parser(
        prog="python -m bench.new",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", help="of the file, the YAML and the class: lower-case letters, digits and _"
    )
    parser.add_argument(
        "--into",
        default=DEFAULT_FOLDER,
        help=f"the folder that both go below (default: {DEFAULT_FOLDER})",
    )
    asked = parser.parse_args(arguments)
    if not (
        asked.name.isidentifier() and asked.name.isascii() and asked.name.islower()
    ) or keyword.iskeyword(asked.name):
        raise UserError(
            f"{asked.name} is no name for a module: take lower-case letters, digits and _, a letter first, as in my_mixer"
        )
    if asked.name in sys.stdlib_module_names or importlib.util.find_spec(asked.name) is not None:
        raise UserError(
            f"{asked.name} is a module already: take another name, as in my_{asked.name}"
        )
    for who, folder in [("the project", conf_folder()), *installed_folders()]:
        if (folder / "arch" / f"{asked.name}.yaml").exists():
            raise UserError(
                f"arch={asked.name} is there already, by {who} ({folder}): take another name, as in my_{asked.name}"
            )
    return asked.name, Path(asked.into)


def module_path(name: str, into: Path) -> tuple[str, str]:
    """The module's name as Python imports it from here, and what has to stand before a command for that."""
    inside = into.resolve()
    if inside.is_relative_to(Path.cwd()):
        parts = inside.relative_to(Path.cwd()).parts
        if all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
            return ".".join((*parts, name)), ""
    return name, f"PYTHONPATH={into} "


def write_files(name: str, into: Path) -> list[Path]:
    """Write both files below a folder. Raises UserError where one of them is there already, or can not be written."""
    module, _ = module_path(name, into)
    words = {
        "NAME": name,
        "MODULE": module,
        "CLASS": "".join(part.capitalize() for part in name.split("_")),
    }
    paths = {into / target.format(name=name): template for template, target in TEMPLATES.items()}
    for path in paths:
        if path.exists():
            raise UserError(
                f"{path} is there already, and nothing was written: take another name or another --into"
            )
    for path, template in paths.items():
        text = files("bench").joinpath("templates", template).read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UserError(
                f"{path} can not be written ({error.strerror}): name another folder with --into"
            ) from None
    return list(paths)


@command(stopped="nothing was overwritten")
def main(arguments: Sequence[str]) -> int:
    name, into = parse_arguments(arguments)
    written = write_files(name, into)
    before, where = module_path(name, into)[1], f"--config-dir {into / 'conf'}"
    print("\n".join(f"wrote {path}" for path in written))
    print(
        "\nIt works as it is. Change forward, init_state and flops together, and check each change:"
    )
    print(f"  {before}python -m bench.check {where} arch={name}")
    print("then train it (arch=a,b -m: beside another one):")
    print(f"  {before}python -m bench.run {where} arch={name} size=tiny")
    return 0


if __name__ == "__main__":
    sys.exit(main())
