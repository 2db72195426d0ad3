"""What an image file says about the size of its pixels, where that can be believed."""

import html
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

Size = tuple[float, float]
"""Height and width of a pixel in micrometres."""

LONGEST_XML = 2**20
"""Characters of OME-XML that are looked at; the pixel size stands near its beginning."""

_UM = {"pm": 1e-6, "å": 1e-4, "nm": 1e-3, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0}
_UM |= {"mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400.0, "in": 25400.0}
_SIZES = re.compile(r'\b(PhysicalSize[XY](?:Unit)?)\s*=\s*"([^"]*)"')
_STATED_UM = (1e-4, 1e4)
"""Pixel sizes believed of a file that names a physical unit itself (OME, ImageJ)."""
_PRINTED_UM = (0.01, 20.0)
"""Pixel sizes believed of resolution tags: 72, 96 or 300 dpi are a printer's, not a microscope's."""


def of_png(data: bytes) -> Size | None:
    """From the pHYs chunk (pixels per metre), which stands before the image data."""
    at = data.find(b"pHYs", 0, max(data.find(b"IDAT"), 0))
    if at < 0 or len(data) < at + 13:
        return None
    across, down, unit = struct.unpack_from(">IIB", data, at + 4)
    return _plausible(_inverse(down, 1e6), _inverse(across, 1e6), _PRINTED_UM) if unit == 1 else None


def of_tiff(tiff: "TiffFile", page: "TiffPage") -> Size | None:
    """From OME-XML, ImageJ's description or the baseline resolution tags, in this order."""
    description = page.description or ""
    if tiff.is_ome:
        return _ome_pixel_size(description)
    down, across = _ratio(page, "YResolution"), _ratio(page, "XResolution")
    if tiff.is_imagej:
        unit = _unit(str((tiff.imagej_metadata or {}).get("unit", "")))
        return _plausible(_inverse(down, unit), _inverse(across, unit), _STATED_UM)
    tag = page.tags.get("ResolutionUnit")
    unit = {2: 25400.0, 3: 1e4}.get(int(tag.value), 0.0) if tag is not None else 0.0
    return _plausible(_inverse(down, unit), _inverse(across, unit), _PRINTED_UM)


def _ome_pixel_size(xml: str) -> Size | None:
    """From the first ``Pixels`` element; the default unit is the micrometre (OME-XML schema 2016-06)."""
    # Without a parser: no entity is ever resolved, and neither text nor element is looked at without end.
    element = re.search(r"<(?:\w{1,40}:)?Pixels\b[^<>]{1,8192}>", xml[:LONGEST_XML])
    known = dict(_SIZES.findall(element[0])) if element else {}
    try:
        down, across = (float(known[f"PhysicalSize{a}"]) * _unit(known.get(f"PhysicalSize{a}Unit", "um")) for a in "YX")
    except (KeyError, ValueError):
        return None
    return _plausible(down, across, _STATED_UM)


def _unit(name: str) -> float:
    """Micrometres in a unit of length; 0 for pixels and the unknown."""
    plain = html.unescape(name).replace("\\u00B5", "u").strip().casefold()
    return _UM.get(plain.replace("\u03bc", "u").replace("\u00b5", "u"), 0.0)


def _ratio(page: "TiffPage", name: str) -> float:
    tag = page.tags.get(name)
    try:
        numerator, denominator = tag.value if tag is not None else (0, 1)
        return float(numerator) / float(denominator)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _inverse(per_unit: float, unit_um: float) -> float:
    return unit_um / per_unit if per_unit > 0 else 0.0


def _plausible(down: float, across: float, believed: Size) -> Size | None:
    low, high = believed
    return (down, across) if low <= down <= high and low <= across <= high else None
