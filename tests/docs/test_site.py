"""The site builds without a warning: the nav has every page, links and anchors are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.pages import DOCS, pages
from tools.screens import MARK, PAGES

ROOT = DOCS.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stderr
    return folder


def test_it_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").exists()
    assert (site / "pictures/copy.svg").exists()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """No font, script, style or picture: a page is complete without a network."""
    fetched = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//|<link\b[^>]*//|url\((?:https?:)?//"""
    )
    found = {
        page.name: match[0]
        for page in [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]
        if (match := fetched.search(page.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(DOCS)))
def test_a_page_from_the_code_is_new(path: Path) -> None:
    assert path.read_text() == pages()[path], "run python -m tools.pages"


def test_a_link_of_the_front_page_is_there() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), (page, target)


def test_every_screen_is_there() -> None:
    """`python -m tools.screens` writes them; what they show is not judged here."""
    found = {mark[2]: mark[3] for page in PAGES for mark in MARK.finditer(page.read_text())}
    assert len(found) > 5
    assert [name for name, text in found.items() if not text.startswith("```console\n$ syncline ")] == []
