"""Task selectors: AiCSD's rules, what we add, and what we refuse."""

import copy
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.operators import ARGUMENTS
from contracts.selectors import TYPICAL_JOB, BadSelector, SelectorFailed, check, explain, matches

JOB: dict[str, Any] = {
    **TYPICAL_JOB,
    "InputFile": {
        "Hostname": "gateway",
        "DirName": "/tmp/files/input",
        "Name": "test-image-7.tiff",
        "Extension": ".tiff",
        "Attributes": {"row": "8", "LabName": "ScienceLab"},
    },
    "PipelineDetails": {"OutputFiles": [{"Name": "a.png"}, {"Name": "b.tiff"}]},
}
NAME = {"var": "InputFile.Name"}
ROW = {"var": "InputFile.Attributes.row"}
NOPE = {"var": "InputFile.Attributes.nope"}
OUTPUTS = {"var": "PipelineDetails.OutputFiles"}


def holds(rule: object) -> bool:
    text = json.dumps(rule)
    check(text)
    return matches(text, JOB)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"in": ["image", NAME]}, True),
        ({"in": ["IMAGE", NAME]}, False),
        ({"in": ["", NAME]}, True),
        ({"==": [ROW, 8]}, True),
        ({"===": [ROW, 8]}, False),
        ({"in": ["x", NOPE]}, False),
        ({"in": ["x", {"var": ["InputFile.Attributes.nope", "xyz"]}]}, True),
        ({"in": [{"var": "InputFile.Extension"}, [".tiff", ".png"]]}, True),
        ({"==": [{"substr": [NAME, -5]}, ".tiff"]}, True),
        (True, True),
        (1, True),
        (False, False),
        (0, False),
        ({"var": "Verification"}, False),
    ],
)
def test_rules_of_aicsd_choose_as_they_did(rule: object, wanted: bool) -> None:
    assert holds(rule) is wanted


OPERATORS: list[tuple[object, bool]] = [
    ({"==": [NOPE, None]}, True),
    ({"==": [0, NOPE]}, False),
    ({"==": [[8], "8"]}, True),
    ({"==": [[8], [8]]}, False),
    ({"!=": [ROW, 8]}, False),
    ({"!==": [ROW, 8]}, True),
    ({"===": [ROW, "8"]}, True),
    ({"===": [1, True]}, False),
    ({">": [ROW, 7]}, True),
    ({">=": [ROW, 8]}, True),
    ({"<": [1, ROW, 9]}, True),
    ({"<=": [ROW, 7]}, False),
    ({"!": [NOPE]}, True),
    ({"!": NOPE}, True),
    ({"!!": [NAME]}, True),
    ({"and": [True, {"in": ["7", NAME]}]}, True),
    ({"or": [False, {"in": ["9", NAME]}]}, False),
    ({"?:": [{"==": [ROW, 8]}, True, False]}, True),
    ({"if": [False, True, {"==": [ROW, 9]}, True, False]}, False),
    ({"in": [None, NAME]}, False),
    ({"in": [NOPE, ["a", None]]}, False),
    ({"in": [7, NAME]}, True),
    ({"in": [1, [True, "1"]]}, False),
    ({"in": [ROW, [[1, 3], [7, 9]]]}, True),
    ({"in": [8, [[8], [1, 2, 9]]]}, False),
    ({"in": ["x", 7]}, False),
    ({"in_sorted": [ROW, [1, [5, 10], 20]]}, True),
    ({"in_sorted": [ROW, [1, 7, 9]]}, False),
    ({"in_sorted": ["bob", ["alice", ["b", "c"]]]}, True),
    ({"in_sorted": [NOPE, ["a"]]}, False),
    ({"==": [{"cat": ["row ", ROW, NOPE, True, 1.5]}, "row 8true1.5"]}, True),
    ({"==": [{"substr": [NAME, 0, 4]}, "test"]}, True),
    ({"==": [{"substr": [NOPE, -4]}, "null"]}, False),
    ({"==": [{"%": [ROW, 3]}, 2]}, True),
    ({"==": [{"+": [ROW, "1", 1]}, 10]}, True),
    ({"==": [{"-": [ROW, 10]}, -2]}, True),
    ({"==": [{"-": [ROW]}, -8]}, True),
    ({"==": [{"*": [ROW, 2]}, 16]}, True),
    ({"==": [{"/": [ROW, 2]}, 4]}, True),
    ({"==": [{"abs": [{"-": [ROW]}]}, 8]}, True),
    ({"==": [{"max": [1, ROW]}, 8]}, True),
    ({"==": [{"min": [1, ROW]}, 1]}, True),
    ({"in": ["b", {"merge": [["a"], "b", ["c"]]}]}, True),
    ({"!": [{"missing": ["InputFile.Name"]}]}, True),
    ({"in": ["InputFile.nope", {"missing": [["InputFile.nope"]]}]}, True),
    ({"!": [{"missing_some": [1, ["InputFile.Name", "nope"]]}]}, True),
    ({"!!": [{"missing_some": [2, ["InputFile.Name", "nope"]]}]}, True),
    ({"!": [{"missing_some": [1, "nope"]}]}, True),
    ({"==": [{"var": ["nope", 5]}, 5]}, True),
    ({"!!": [{"var": ""}]}, True),
    ({"some": [[{"set": [{"var": "InputFile"}, "Name", "z"]}], {"==": [{"var": "Name"}, "z"]}]}, True),
    ({"===": [{"set": [NAME, "x", 1]}, "test-image-7.tiff"]}, True),
    ({"in": ["b.tiff", {"map": [OUTPUTS, {"var": "Name"}]}]}, True),
    ({"!!": [{"filter": [OUTPUTS, {"ends_with": [{"var": "Name"}, ".png"]}]}]}, True),
    (
        {
            "==": [
                {"reduce": [[1, 2, 3], {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
                6,
            ]
        },
        True,
    ),
    ({"all": [OUTPUTS, {"in": [".", {"var": "Name"}]}]}, True),
    ({"none": [OUTPUTS, {"starts_with": [{"var": "Name"}, "a"]}]}, False),
    ({"some": [NOPE, True]}, False),
    ({"matches": [NAME, r"^test.*\.tiff$"]}, True),
    ({"matches": [NAME, "^image"]}, False),
    ({"matches": [NOPE, ""]}, False),
    ({"starts_with": [NAME, "test-"]}, True),
    ({"starts_with": [NOPE, ""]}, False),
    ({"ends_with": [NAME, ".tiff"]}, True),
]


@pytest.mark.parametrize(("rule", "wanted"), OPERATORS)
def test_every_operator_answers(rule: object, wanted: bool) -> None:
    assert holds(rule) is wanted


def test_no_operator_is_left_out_of_the_examples() -> None:
    examples = json.dumps([rule for rule, _ in OPERATORS])

    assert [name for name in ARGUMENTS if f'"{name}":' not in examples] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "0 keys"),
        ("null", "wrap it"),
        ('"true"', '"true"'),
        ("2", "true or false"),
        ("[]", "true or false"),
        ('{"or":[false,"yes"]}', '"yes"'),
        ('{"var":"InputFile.Name"}', "compare it with =="),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("true false", "remove it"),
        ('{"in":["a",{"var":"InputFile.Name"}]} ;', "remove it"),
        ('{"regex":[1]}', '"regex"'),
        ('{"log":[true]}', '"log"'),
        ('{"#loop":[true,1]}', "#loop"),
        ('{"in":["a"]}', "'in' takes 2 arguments and has 1"),
        ('{"and":[]}', "at least 1"),
        ('{"substr":["a"]}', "2 to 3"),
        ('{"==":[1,1],"!=":[1,2]}', "2 keys"),
        ('{"matches":["a","("]}', "'matches'"),
        ('{"matches":["a","(a+)+$"]}', "simplify it"),
        ('{"matches":["a",{"var":"Id"}]}', "write it out"),
        ('{"==":[NaN,1]}', "NaN"),
        ("[" * 5000, "flatten it"),
        ('{"!":' * 100 + "1" + "}" * 100, "flatten it"),
        ("[" + "1," * 20_000 + "1]", "split it"),
        ('{"==":[' + "9" * 5000 + ",1]}", "a number"),
    ],
)
def test_a_rule_that_can_never_choose_is_refused_with_the_remedy(text: str, words: str) -> None:
    with pytest.raises(BadSelector) as caught:
        check(text)

    assert words in str(caught.value)
    with pytest.raises(SelectorFailed):
        matches(text, JOB)


ACC = {"var": "accumulator"}


@pytest.mark.parametrize(
    "rule",
    [
        {"==": [{"/": [1, {"var": "Verification"}]}, 1]},
        {"==": [{"+": [10**400, 0.5]}, 1]},
        {"matches": [{"var": "Long"}, "x$"]},
        {"!!": [{"reduce": [list(range(60)), {"cat": [ACC, ACC]}, "ab"]}]},
        {"!!": [{"reduce": [list(range(60)), {"merge": [ACC, ACC]}, ["a", "b"]]}]},
        {"!!": [{"reduce": [list(range(99)), {"*": [ACC, ACC]}, 1e200]}]},
        {
            "all": [
                list(range(100)),
                {"all": [list(range(100)), {"all": [list(range(100)), {"all": [list(range(100)), True]}]}]},
            ]
        },
        {"==": [{"reduce": [list(range(1, 60)), {"*": [ACC, ACC]}, 10]}, 1]},
        {"==": [{"cat": [{"reduce": [list(range(1, 60)), [ACC, ACC], 10]}]}, 1]},
        {"===": [{"reduce": [list(range(1, 60)), [ACC, ACC], 10]}, []]},
        {"<": [{"reduce": [list(range(1, 60)), [ACC, ACC], 10]}, "a"]},
    ],
)
def test_a_hostile_rule_answers_or_fails_soon(rule: object) -> None:
    text = json.dumps(rule)
    started = time.perf_counter()

    check(text)
    with suppress(SelectorFailed):
        matches(text, {**JOB, "Long": "x" * 100_000})

    assert time.perf_counter() - started < 2


def test_a_division_by_zero_fails_in_words() -> None:
    with pytest.raises(SelectorFailed, match="divides by zero"):
        matches('{"/":[1,0]}', JOB)


def test_the_job_is_not_changed() -> None:
    before = copy.deepcopy(JOB)

    matches(json.dumps({"!!": [{"set": [{"var": "InputFile"}, "Name", "z"]}]}), JOB)

    assert before == JOB


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"and": [True, {"in": ["x", NAME]}]}, ["Does not match", "InputFile.Name", "test-image-7.tiff"]),
        ({"and": [True, {"==": [ROW, 8]}]}, ["Matches: all conditions hold (2)"]),
        ({"or": [False, {"==": [ROW, 8]}]}, ["Matches", 'row is "8"']),
        ({"or": [{"==": [ROW, 1]}, False]}, ["no alternative holds (2)", 'row is "8"']),
        ({"in": ["x", NOPE]}, ["nope is missing"]),
        ({"some": [OUTPUTS, {"var": "Name"}]}, ["Matches", "PipelineDetails.OutputFiles is"]),
        ({"nonsense": [1]}, ["Cannot be evaluated", "nonsense"]),
        ({"/": [1, 0]}, ["Cannot be evaluated", "zero"]),
        (True, ["Matches: true is true."]),
        (
            {"and": [True, {"or": [{"in": ["x", NAME]}, {"!": [{"and": [{"==": [ROW, 8]}, True]}]}]}]},
            ['Does not match: {"in": ["x"', "} is false, where", 'row is "8"; true is true'],
        ),
        ({"or": [{"==": [ROW, n]} for n in range(1, 8)]}, ["no alternative holds (7)", "; and 3 more."]),
    ],
)
def test_an_explanation_names_what_decided(rule: object, words: list[str]) -> None:
    sentence = explain(json.dumps(rule), JOB)

    assert [word for word in words if word not in sentence] == []


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
fields = st.sampled_from(["InputFile.Name", "InputFile.Attributes.row", "", "nope", "Verification", "0.x"])
operations = st.recursive(
    leaves | fields.map(lambda name: {"var": name}) | values.filter(lambda v: not isinstance(v, dict)),
    lambda inner: st.builds(
        lambda operator, arguments: {operator: arguments},
        st.sampled_from(sorted(ARGUMENTS)),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=12,
)
jobs = st.dictionaries(st.sampled_from(["InputFile", "Verification", "x"]) | st.text(max_size=3), values)


@given(values.map(json.dumps) | st.text())
def test_a_check_raises_nothing_but_bad_selector(text: str) -> None:
    with suppress(BadSelector):
        check(text)


@settings(max_examples=200)
@given(operations, jobs)
def test_a_checked_rule_raises_nothing_but_selector_failed(rule: object, job: dict[str, Any]) -> None:
    text = json.dumps({"!!": [rule]})
    try:
        check(text)
    except BadSelector:
        return
    with suppress(SelectorFailed):
        assert matches(text, job) in (True, False)
    assert explain(text, job)
