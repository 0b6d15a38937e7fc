from cifar_cnn.base.tables import markdown_table, text_table

ROWS = [["name", "n"], ["a", "10"], ["longer", "2"]]


def test_columns_are_aligned_and_lines_have_no_trailing_spaces() -> None:
    assert text_table(ROWS, left=[0]) == ["name     n", "a       10", "longer   2"]
    assert text_table(ROWS, left=[1]) == ["  name  n", "     a  10", "longer  2"]


def test_a_markdown_table_marks_the_alignment_of_columns() -> None:
    assert markdown_table(ROWS, left=[0]).splitlines() == [
        *("| name   |   n |", "| ------ | --: |", "| a      |  10 |", "| longer |   2 |")
    ]
