"""An edit of a TOML file changes its entry, and not one other character."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.toml_edits import appended, edited_table

# Parts of a file in any order, of which each stands once, but the tables of arrays, and comments.
ROOTS = (
    *("a = 1 # one\n", "  b = '''\n[t]\n[[u]]\n'''\n", 'c = """# no comment\n["t"]\n"""\n'),
    *('d = [\n  ["t"], # so\n  ["x"],\n]\n', "e = 1979-05-27T07:32:00Z\n", "f . g = { h = 1 }\n"),
)
TABLES = (
    *("[o] # other\n x = 0x10\n", '["p".q]\ny = "t = 1"\n', "[r]\n", "[[v]]\nz = [ 1,\n 2 ]\n"),
    *("[[v]]\n[v.w]\nn = 1e3\n", "[[u]]\nk = 1\n", "[[u]]\nk = 2 # two\n"),
)
OF_TABLE = {
    "none": ("", ""),
    "a table": ("", "[t] # mine\nx = 1 # one\n"),
    "an empty table": ("", "[t]\n"),
    "an inline table": ("t = { x = 1, 'z' = 2 } # mine\n", ""),
    "dotted keys": ("t.x = 1 # one\nt . 'z' = 2\n", ""),
}
COMMENTS = st.sampled_from(["", "", "\n", "# one\n", "\n# two\n  # three\n", "\t\n"])


@st.composite
def files(draw: st.DrawFn, root: str, table: str) -> str:
    """A file with these lines before all tables, and with this table."""
    roots = draw(st.lists(st.sampled_from(ROOTS), unique=True, max_size=4))
    tables = draw(st.lists(st.sampled_from(TABLES), unique=True, max_size=4))
    roots.insert(draw(st.integers(0, len(roots))), root)
    tables.insert(draw(st.integers(0, len(tables))), table)
    text = "".join(draw(COMMENTS) + part for part in (*roots, *tables)) + draw(COMMENTS)
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.rstrip("\r\n") if draw(st.booleans()) else text


@pytest.mark.parametrize("form", OF_TABLE)
@given(data=st.data())
def test_an_edit_of_a_table_changes_its_entry_alone(form: str, data: st.DataObject) -> None:
    text = data.draw(files(*OF_TABLE[form]))
    made = edited_table(text, "t", lambda values: values.setdefault("t", {}).update(x=7))
    expected = tomllib.loads(text)
    expected.setdefault("t", {})["x"] = 7
    assert tomllib.loads(made) == expected
    assert is_kept(text.replace("x = 1", "x = 7"), made)


@given(data=st.data())
def test_an_appended_table_changes_nothing_before_it(data: st.DataObject) -> None:
    text = data.draw(files("", ""))
    made = appended(text, "u", {"k": 3})
    assert made.startswith(text)
    assert made.removeprefix(text).strip().split() == ["[[u]]", "k", "=", "3"]


def is_kept(before: str, after: str) -> bool:
    """Whether all lines are there still, in their order, with one or two more at most."""
    old, new = before.splitlines(), after.splitlines()
    remaining = iter(new)
    return all(line in remaining for line in old) and len(new) - len(old) <= 3
