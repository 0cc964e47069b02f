"""`actors explain` and `actors prompt` print pages of the documentation."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from actors.cli.commands import cli
from actors.errors import ActorsError, CannotKeep, MailboxFull, with_code


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


@pytest.mark.parametrize(
    "name", ["cannot_keep", "[cannot_keep]", "CANNOT_KEEP", "CannotKeep", "actors.errors.CannotKeep"]
)
def test_a_code_is_found_by_its_name_and_by_its_class(name: str) -> None:
    answer = run("explain", name)
    assert answer.exit_code == 0
    assert answer.stdout.startswith("cannot_keep\nCannotKeep, HTTP 409\n\nA restart cannot keep")
    assert "**What to do.** Restart with the position" in answer.stdout


def test_an_explanation_has_neither_links_nor_the_next_section() -> None:
    answer = run("explain", "cannot_keep").stdout
    assert "](" not in answer and "deadlock" not in answer and "##" not in answer


def test_a_code_that_does_not_exist_is_refused_with_a_suggestion() -> None:
    answer = run("explain", "cannot_kep")
    assert answer.exit_code == 2
    assert "'cannot_kep' is not an error code. Did you mean 'cannot_keep'?" in answer.stderr


def test_without_a_code_all_codes_are_listed_on_a_line_each() -> None:
    lines = run("explain").stdout.splitlines()
    assert len(lines) > 70
    assert all(line.split()[0].islower() and len(line.split()) > 2 for line in lines)


def test_the_prompt_is_a_page_without_what_only_its_tests_need() -> None:
    answer = run("prompt")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("# ")
    assert "<!--" not in answer.stdout and "description:" not in answer.stdout


def test_an_error_is_shown_with_its_code() -> None:
    assert with_code(MailboxFull("Full.")) == "Full. [mailbox_full]"
    assert with_code(CannotKeep("No.")) == "No. [cannot_keep]"
    assert with_code(ValueError("other")) == "other"


def test_a_code_that_is_shown_can_be_explained() -> None:
    assert (
        with_code(ActorsError("The code of the base class says nothing.")) == "The code of the base class says nothing."
    )
    refused = run("deploy", "no_such_module:app", "--at", "http://localhost:1")
    assert refused.exit_code == 2 and "no_such_module" in refused.stderr and "[" not in refused.stderr
