"""Ready-made patterns for the file names of common screening microscopes."""

from contracts.names import FirstOf, PatternRule

_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_WELL = r"(?P<well>[a-p]\d\d|a[a-f]\d\d)"
_TIFF = r"\.tiff?$"

HARMONY = PatternRule(
    "harmony",
    r"(?i)(?:^|(?<=/))(?:(?P<plate>[^/]+?)(?:__[^/]*)?/Images/)?r(?P<row>\d\d)c(?P<column>\d\d)f(?P<field>\d+)"
    r"p(?P<z>\d+)-ch(?P<channel>\d+)(?:sk(?P<t>\d+))?(?:fk\d+)?(?:fl\d+)?" + _TIFF,
    on="path",
)
"""PerkinElmer / Revvity Operetta and Opera Phenix; the plate is in the folder's name."""

IMAGEXPRESS = PatternRule(
    "imagexpress",
    rf"(?i)^(?:(?P<plate>.+)_)?{_WELL}(?=_[sw]\d)(?:_s(?P<field>\d+))?(?:_w(?P<channel>\d{{1,2}}?))?"
    rf"(?:_thumb)?(?:_?\[?{_GUID}\]?)?(?:_z(?P<z>\d+))?(?:_t(?P<t>\d+))?{_TIFF}",
)
"""Molecular Devices ImageXpress / MetaXpress, with and without plate, site, wavelength and GUID."""

CELLVOYAGER = PatternRule(
    "cellvoyager",
    rf"(?i)^(?P<plate>.+)_{_WELL}_T(?P<t>\d+)F(?P<field>\d+)L\d+A\d+Z(?P<z>\d+)C(?P<channel>\d+){_TIFF}",
)
"""Yokogawa CV7000 and CV8000."""

CQ1 = PatternRule("cq1", r"(?i)^W(?P<well>\d+)F(?P<field>\d+)T(?P<t>\d+)Z(?P<z>\d+)C(?P<channel>\d+)" + _TIFF)
"""Yokogawa CQ1; the well is counted along the plate."""

CELLOMICS = PatternRule(
    "cellomics",
    r"(?i)^(?P<plate>.+)_(?P<well>[a-p]\d\d)f(?P<field>\d+)[do](?P<channel>\d+)\.(?:c\d\d|dib|tiff?)$",
)
"""Thermo Cellomics ArrayScan, CX5, CX7 (d: image, o: overlay)."""

SCANR = PatternRule(
    "scanr", r"(?i)--W(?P<well>\d+)--P(?P<field>\d+)--Z(?P<z>\d+)--T(?P<t>\d+)--(?P<channel>[^/]+?)" + _TIFF
)
"""Olympus / Evident scan^R; the well is counted, the channel has a name."""

ACQUIFER = PatternRule(
    "acquifer",
    r"(?i)^-(?P<well>[a-p]\d{3})--PO(?P<field>\d+)--LO(?P<t>\d+)--CO(?P<channel>\d+)--SL(?P<z>\d+)--",
)
"""Acquifer imaging machine: subposition, loop, channel, slice."""

SBS = PatternRule("sbs", r"(?i)^Channel(?P<channel>\d+)-\d+-(?P<row>[a-p])-(?P<column>\d\d)" + _TIFF)
"""Files numbered and named by well of an SBS plate."""

OME = PatternRule(
    "ome",
    r"(?i)(?:^(?:(?P<plate>[^/]+?)_)?(?P<well>[a-p]\d\d))?(?:_(?:(?:ch|c|w)(?P<channel>\d{1,6})|z(?P<z>\d{1,6})"
    r"|(?:tp|t)(?P<t>\d{1,6})|(?:pos|s|f)(?P<field>\d{1,6}))){0,5}\.ome" + _TIFF,
)
"""OME-TIFF written in parts, their coordinates in any order, e.g. ``plate_A01_s1_c0_z03_t10.ome.tif``."""

VENDORS = {rule.name: rule for rule in (HARMONY, CELLVOYAGER, CQ1, CELLOMICS, SCANR, ACQUIFER, SBS, OME, IMAGEXPRESS)}
"""By name, in the order in which they are tried."""

ANY_VENDOR = FirstOf(tuple(VENDORS.values()))
"""Whichever pattern knows the name."""
