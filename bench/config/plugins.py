"""Find architectures of installed packages, and the optional extras of this one.

A package offers its YAMLs by an entry point of the group `bench.architectures`. The value names,
with dots, the folder that holds `arch/*.yaml`. Only building an architecture imports the package.

    [project.entry-points."bench.architectures"]
    theirs = "their_package.conf"
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from bench.config.errors import UserError

ENTRY_POINT_GROUP = "bench.architectures"
DISTRIBUTION = "architecture-bench"
# modules whose package has another name
PACKAGE_OF_MODULE = {"fla": "flash-linear-attention"}

ConfigFolder = tuple[str, Path]  # whose folder of YAMLs it is, in words, and the folder


def installed_folders() -> list[ConfigFolder]:
    """Return the YAML folders of installed packages. Raise UserError where one is missing."""
    folders = []
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
        package = entry.dist.name if entry.dist is not None else entry.name
        top, *inside = entry.value.partition(":")[0].strip().split(".")
        spec = importlib.util.find_spec(top)
        locations = [] if spec is None else list(spec.submodule_search_locations or ())
        candidates = [Path(location, *inside) for location in locations]
        folder = next((path for path in candidates if any(path.glob("arch/*.yaml"))), None)
        if folder is None:
            missing = candidates[0] if candidates else f"a package {top}"
            raise UserError(
                f"the installed package {package} declares architectures in {entry.value}, but "
                f"there is no arch/*.yaml in {missing}: install it again, or run "
                f"python -m pip uninstall {package}",
                "missing-file",
            )
        folders.append((f"the installed package {package}", folder.resolve()))
    return folders


def check_unique_names(sources: Sequence[ConfigFolder]) -> None:
    """Raise UserError where two folders hold a YAML of the same name."""
    seen: dict[Path, ConfigFolder] = {}
    for source in sources:
        for path in sorted(source[1].rglob("*.yaml")):
            name = path.relative_to(source[1])
            owner, folder = seen.setdefault(name, source)
            if folder != source[1]:
                raise UserError(
                    f"{name.parent}={name.stem} is defined twice, by {owner} ({folder}) "
                    f"and by {source[0]} ({source[1]}): rename or remove one",
                    "duplicate-name",
                )


class InstalledArchitecturesPlugin(SearchPathPlugin):
    """Add the YAML folders of installed packages to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = [
            ("the project", Path(element.path.removeprefix("file://")))
            for element in search_path.get_path()
            if element.provider == "main"
        ]
        installed = installed_folders()
        check_unique_names([*own, *installed])
        for _, folder in installed:
            search_path.append(provider=ENTRY_POINT_GROUP, path=f"file://{folder}")


def find_module_file(target: str) -> Path | None:
    """Return the file of a `_target_`'s module without importing it; None where there is none."""
    top, *rest = target.split(".")[:-1] or [""]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin)
    path = Path(spec.origin).parent.joinpath(*rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def install_hint(error: BaseException) -> str:
    """Return the end of a message about a missing module: how to install its extra, if any."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    module = error.name.partition(".")[0]
    package = _normalize(PACKAGE_OF_MODULE.get(module, module))
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for line in requirements:
        name, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([^'\"]+)", line)
        if name and extra and extra.group(1) != "dev" and _normalize(name.group()) == package:
            return f"; to install it: python -m pip install '{DISTRIBUTION}[{extra.group(1)}]'"
    return ""


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
