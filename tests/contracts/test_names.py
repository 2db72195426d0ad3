"""What file names tell."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.names import (
    AttributeRule,
    BadRule,
    DataType,
    FirstOf,
    PatternRule,
    attributes_of,
    parse,
    well_name,
)
from contracts.patterns import BadPattern, compiled
from contracts.vendors import ANY_VENDOR, VENDORS


def rules(data_type: DataType, *ids: str) -> list[AttributeRule]:
    return [AttributeRule(one, one, data_type) for one in ids]


MIXED = [
    *rules("int", "r", "c"),
    *rules("string", "f"),
    *rules("int", "p"),
    *rules("string", "ch"),
    *rules("bool", "true", "false"),
]
MIXED_FOUND = {
    "r": "15",
    "c": "7",
    "f": "test",
    "p": "0",
    "ch": "television",
    "true": "true",
    "false": "false",
}
FLAGS = [*rules("string", "op"), *rules("int", "n"), *rules("bool", "f")]


@pytest.mark.parametrize(
    ("name", "parsers", "found"),
    [
        ("c-ch.tiff", rules("bool", "r", "c", "ch"), {"r": "false", "c": "true", "ch": "true"}),
        ("r0c2ch003-extra.tiff", rules("int", "r", "c", "ch"), {"r": "0", "c": "2", "ch": "3"}),
        (
            "r-one-c-two-ch-three.tiff",
            rules("string", "r", "c", "ch"),
            {"r": "one", "c": "two", "ch": "three"},
        ),
        ("r15c007f-test-p0-ch-television-true.tiff", MIXED, MIXED_FOUND),
        ("nothing.tiff", rules("int", "r", "c"), {}),
        ("shot9_t3.tif", rules("int", "t"), {"t": "9"}),
        ("T5.tif", rules("int", "t"), {}),
        ("op_bob.tif", rules("string", "op"), {}),
        ("op-Bob-n007-f.tiff", FLAGS, {"n": "7", "f": "true"}),
        ("plate٣.tif", rules("int", "plate"), {}),
        ("opébob.tif", rules("string", "op"), {"op": "bob"}),
        ("ROW7.tif", [AttributeRule("row", "(?i)row", "int")], {"row": "7"}),
        ("x7.tif", [AttributeRule("any", "y|x", "int")], {"any": "7"}),
        ("run3/none.tif", rules("int", "run"), {}),
    ],
)
def test_the_attribute_parser_finds_what_aicsd_finds(
    name: str, parsers: list[AttributeRule], found: dict[str, str]
) -> None:
    assert parse(name, parsers) == found


@pytest.mark.parametrize(
    ("identifier", "data_type", "words"),
    [
        ("r", "float", "invalid data type for attribute Row: use bool, int or string"),
        ("(", "int", "invalid id '(' for attribute Row"),
        (r"\pL", "int", "attribute Row"),
        ("(a+)+", "bool", "simplify it"),
    ],
)
def test_an_attribute_that_can_never_work_is_refused_by_name(identifier: str, data_type: DataType, words: str) -> None:
    with pytest.raises(BadRule) as caught:
        AttributeRule("Row", identifier, data_type)

    assert words in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("pattern", "on", "words"),
    [
        ("(?P<plate>", "name", "correct or escape it"),
        ("plate", "name", "no named group"),
        ("(?P<plate>x)", "folder", "use name or path"),
        ("(?P<plate>x{200}" + "y" * 500 + ")", "name", "shorten it"),
    ],
)
def test_a_pattern_that_can_never_work_is_refused_with_the_remedy(pattern: str, on: str, words: str) -> None:
    with pytest.raises(BadRule, match="mine") as caught:
        PatternRule("mine", pattern, on)  # type: ignore[arg-type]

    assert words in str(caught.value)


GUID = "9AA4D9EA-18E4-4354-8C7D-0202029A8048"
WELL_A1 = {"well": "A01", "row": "1", "column": "1"}


@pytest.mark.parametrize(
    ("vendor", "name", "found"),
    [
        (
            "cellomics",
            "MFGTMP_120628160001_C18f00d0.C01",
            {
                "plate": "MFGTMP_120628160001",
                "well": "C18",
                "row": "3",
                "column": "18",
                "field": "0",
                "channel": "0",
            },
        ),
        (
            "cellomics",
            "AS_09125_050116110001_A01f00d0.DIB",
            {"plate": "AS_09125_050116110001", **WELL_A1, "field": "0", "channel": "0"},
        ),
        (
            "cellomics",
            "AS_09047_050428030001_O01f00d2.TIF",
            {
                "plate": "AS_09047_050428030001",
                "well": "O01",
                "row": "15",
                "column": "1",
                "field": "0",
                "channel": "2",
            },
        ),
        ("sbs", "Channel1-01-A-01.tif", {"channel": "1", **WELL_A1}),
        (
            "imagexpress",
            f"101210OranePlt1_C16_w1_[{GUID}].tif",
            {"plate": "101210OranePlt1", "well": "C16", "row": "3", "column": "16", "channel": "1"},
        ),
        (
            "imagexpress",
            "ADSAStaphInfection2_A01_w2247376DD-6ADD-442D-AE47-F54A05F3EA94.tif",
            {"plate": "ADSAStaphInfection2", **WELL_A1, "channel": "2"},
        ),
        (
            "imagexpress",
            "IXMtest_A02_s1_w1051DAA7C-7042-435F-99F0-1E847D9B42CB.tif",
            {"plate": "IXMtest", "well": "A02", "row": "1", "column": "2", "field": "1", "channel": "1"},
        ),
        (
            "imagexpress",
            f"mcf-z-stacks-03212011_a01_s1_w1{GUID}.tif",
            {"plate": "mcf-z-stacks-03212011", **WELL_A1, "field": "1", "channel": "1"},
        ),
        ("imagexpress", "A01_s1_w1.TIF", {**WELL_A1, "field": "1", "channel": "1"}),
        ("imagexpress", "A01_s1_w1_z1.TIF", {**WELL_A1, "field": "1", "channel": "1", "z": "1"}),
        (
            "imagexpress",
            "p_1_AB12_s3.tif",
            {"plate": "p_1", "well": "AB12", "row": "28", "column": "12", "field": "3"},
        ),
        (
            "scanr",
            "--W00001--P00001--Z00000--T00000--cherry.tif",
            {"well": "1", "field": "1", "z": "0", "t": "0", "channel": "cherry"},
        ),
        (
            "harmony",
            "r01c01f01p01-ch1sk1fk1fl1.tiff",
            {**WELL_A1, "field": "1", "z": "1", "channel": "1", "t": "1"},
        ),
        (
            "harmony",
            "study/Plate 7__2024-03-01T10_00_00-Measurement 1/Images/r02c12f03p04-ch5sk1fk1fl1.tiff",
            {
                "plate": "Plate 7",
                "well": "B12",
                "row": "2",
                "column": "12",
                "field": "3",
                "z": "4",
                "channel": "5",
                "t": "1",
            },
        ),
        (
            "harmony",
            "r27c01f01p01-ch1sk1fk1fl1.tiff",
            {"well": "AA01", "row": "27", "column": "1", "field": "1", "z": "1", "channel": "1", "t": "1"},
        ),
        (
            "cellvoyager",
            "AssayPlate_PerkinElmer_CellCarrier-384_A01_T0001F001L01A01Z01C01.tif",
            {
                "plate": "AssayPlate_PerkinElmer_CellCarrier-384",
                **WELL_A1,
                "t": "1",
                "field": "1",
                "z": "1",
                "channel": "1",
            },
        ),
        (
            "cq1",
            "W0001F0001T0001Z001C1.tif",
            {"well": "1", "field": "1", "t": "1", "z": "1", "channel": "1"},
        ),
        (
            "acquifer",
            "-A002--PO01--LO001--CO6--SL001--PX32500--PW0080--IN0020--TM281"
            "--X023590--Y011262--Z211710--T0200262822--WE00002.tif",
            {
                "well": "A02",
                "row": "1",
                "column": "2",
                "field": "1",
                "t": "1",
                "channel": "6",
                "z": "1",
            },
        ),
        (
            "ome",
            "plate_A01_s1_c0_z03_t10.ome.tif",
            {"plate": "plate", **WELL_A1, "field": "1", "channel": "0", "z": "3", "t": "10"},
        ),
        ("ome", "cells_C1_TP10.ome.tiff", {"channel": "1", "t": "10"}),
        ("ome", "MMStack_Pos0.ome.tif", {"field": "0"}),
    ],
)
def test_each_vendor_s_names_are_read_by_its_own_pattern_and_by_the_choice_of_all(
    vendor: str, name: str, found: dict[str, str]
) -> None:
    assert VENDORS[vendor].attributes(name) == found
    assert attributes_of(name, [ANY_VENDOR]) == found


@pytest.mark.parametrize("name", ["holiday.jpg", "photo_c01.tif", "stack.ome.tif", "", "/", "notes_w1.txt"])
def test_other_names_mean_nothing_to_the_vendors_patterns(name: str) -> None:
    assert attributes_of(name, [ANY_VENDOR]) == {}


def test_the_earlier_rule_wins_and_the_later_adds() -> None:
    folder = PatternRule("folder", r"(?:^|/)(?P<plate>plate\d+)/(?P<operator>[a-z]+)/", on="path")
    name = PatternRule("name", r"^(?P<plate>[a-z]+)-(?P<well>[A-P]\d)\.")

    found = attributes_of("run/plate7/eva/other-B3.tif", [folder, name])

    assert found == {"plate": "plate7", "operator": "eva", "well": "B03", "row": "2", "column": "3"}


def test_alternatives_do_not_mix() -> None:
    either = FirstOf([PatternRule("a", "a(?P<t>[0-9]+)"), PatternRule("b", "b(?P<z>[0-9]+)")])

    assert attributes_of("a1b2", [either]) == {"t": "1"}


@pytest.mark.parametrize(
    ("row", "column", "name"),
    [
        ("1", "1", "A01"),
        ("26", "24", "Z24"),
        ("27", "1", "AA01"),
        ("32", "48", "AF48"),
        ("702", "1", "ZZ01"),
        ("0", "1", ""),
        ("703", "1", ""),
        ("12345", "1", ""),
        ("B", "1", ""),
    ],
)
def test_wells_have_letters_and_two_digits(row: str, column: str, name: str) -> None:
    assert well_name(row, column) == name


@pytest.mark.parametrize(
    "pattern",
    [r"(\w+)*x", r"((a|b))+", r"(?:[a-z]+_?)+$", r"(a{2,})*", ".*.*.*.*.*x", "[", "[[a]", "a{999999999999}"],
)
def test_patterns_that_may_never_end_or_do_not_compile_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compiled(pattern)


@pytest.mark.parametrize("pattern", [r"^plate.*\.tif$", r"(?:ab)+", r"(\(x\+\))*", "[(+]*", r"(?:_x\d){0,5}", "a{2}{"])
def test_harmless_patterns_are_accepted(pattern: str) -> None:
    assert compiled(pattern).pattern == pattern


def test_only_the_end_of_an_endless_name_is_looked_at() -> None:
    started = time.perf_counter()

    found = attributes_of("_" * 1_000_000 + "t5.tif", [*rules("int", "t"), ANY_VENDOR])

    assert found == {"t": "5"}
    assert time.perf_counter() - started < 2


EVERY = [*MIXED, ANY_VENDOR, PatternRule("any", r"(?P<row>\w+)(?P<column>\d*)(?P<well>.?)", on="path")]


@given(st.text() | st.text(alphabet="rcfpA01_-.tiZz/W٣é", max_size=80))
def test_no_name_is_an_error(name: str) -> None:
    found = attributes_of(name, EVERY)

    assert all(isinstance(value, str) and value for value in found.values())


@given(st.text(max_size=30))
def test_a_pattern_is_used_or_refused(pattern: str) -> None:
    try:
        rule = PatternRule("any", f"(?P<x>{pattern})")
    except BadRule:
        return
    rule.attributes("plate7_A01.tif")
