"""What is known of zip files that others have packed."""

import struct
import zipfile
import zlib

DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError),
)
"""How the library says that it cannot read an archive, or something in it: a way of packing that it has not
implemented is one of them."""
