"""docs/guide/kcl-without-adapter.md up to the program in Java: every command runs, every output is compared with the page."""

from guide import follow


def test_every_command_of_the_page_does_what_the_page_shows(tmp_path):
    ran, compared = follow("kcl-without-adapter.md", tmp_path)
    assert ran >= 7 and compared >= 6, "the page has lost its commands"
