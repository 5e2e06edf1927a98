"""docs/guide/shard-lab.md as a reader would do it: every command runs, every output is compared with the page."""

import pytest

from guide import Step, differs, follow


def test_every_command_of_the_page_does_what_the_page_shows(tmp_path):
    ran, compared = follow("shard-lab.md", tmp_path)
    assert ran >= 10 and compared >= 8, "the page has lost its commands"


@pytest.mark.parametrize(
    ("shown", "output", "same"),
    [
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a b\nc\n", False),
        ("a\n…\nb\n", "a\nb\n", True),
        ("a\n…\nb\n", "a\n1\n2\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
        (None, "", True),
        (None, "surprise\n", False),
    ],
)
def test_another_output_is_noticed(shown, output, same):
    step = Step(0, "", "")
    step.shown = shown
    assert (differs(step, output) is None) == same
