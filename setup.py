"""The part of the package that pyproject.toml cannot say: README.md for PyPI, where no files stand beside it.

Links to files of the repository become addresses on the web. Everything else is in pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def absolute(match: re.Match[str]) -> str:
    return f"]({PROJECT['urls']['Source']}/blob/main/{match[1]})"


README = (HERE / "README.md").read_text(encoding="utf-8")
setup(
    long_description=re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", absolute, README),
    long_description_content_type="text/markdown",
)
