"""The dictionaries of the dashboard."""

import re
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from gateway.dashboard import words
from gateway.dashboard.rendering import TEMPLATES, environment


def test_every_language_says_the_same_things_with_the_same_names_put_in():
    first = words.dictionaries()[words.FIRST]
    for language, said in words.dictionaries().items():
        assert said.keys() == first.keys(), language
        assert all(said.values()), language
        for key in first:
            assert sorted(re.findall(r"{(\w*)}", said[key])) == sorted(re.findall(r"{(\w*)}", first[key])), key


@pytest.mark.parametrize("template", sorted(path.name for path in Path(TEMPLATES).glob("*.html")))
def test_whatever_a_template_says_is_in_the_dictionary(template: str):
    tree = environment().parse((TEMPLATES / template).read_text("utf-8"))
    known = words.dictionaries()[words.FIRST].keys()
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "t":
            (said,) = call.args
            if isinstance(said, nodes.Const):
                assert said.value in known, said.value
            else:
                start = said.nodes[0] if isinstance(said, nodes.Concat) else said.find(nodes.Const)
                assert any(key.startswith(start.value) for key in known), start.value


@pytest.mark.parametrize(("cookie", "accepted", "language"), [
    ("zh", "en", "zh"), ("", "zh-CN,zh;q=0.9", "zh"), ("", "de, en-GB;q=0.5", "en"), ("xx", "", "en"), ("", "", "en"),
])  # fmt: skip
def test_the_language_is_the_chosen_one_then_the_first_accepted_that_there_is(cookie, accepted, language):
    assert words.chosen(cookie, accepted) == language


def test_a_name_that_a_template_does_not_know_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ nobody }}").render()
