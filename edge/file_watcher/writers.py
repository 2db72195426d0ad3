"""Whether somebody has a file open for writing, asked of the operating system."""

import errno
import signal
import sys
from pathlib import Path

if sys.platform == "linux":
    import fcntl

    def has_writer(_path: Path, handle: int) -> bool | None:
        """True or False; None where it cannot be told (another user's file, some network file systems).

        ``handle`` is the file, open for reading. A read lease is only granted while nobody may write; it is
        given back at once. Source: fcntl(2), "Leases".
        """
        try:
            # SIGIO, which a broken lease sends by default, would end the process.
            fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return True if error.errno == errno.EAGAIN else None
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

elif sys.platform == "win32":
    import ctypes

    _READ, _SHARE_READ, _OPEN_EXISTING, _BACKUP = 0x80000000, 1, 3, 0x02000000
    _SHARING_VIOLATION, _INVALID = 32, ctypes.c_void_p(-1).value

    def has_writer(path: Path, _handle: int) -> bool | None:
        """True or False; None where it cannot be told. Opening without sharing writes fails while one writes."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateFileW.restype = ctypes.c_void_p
        opened = kernel.CreateFileW(str(path), _READ, _SHARE_READ, None, _OPEN_EXISTING, _BACKUP, None)
        if opened == _INVALID:
            return True if ctypes.get_last_error() == _SHARING_VIOLATION else None
        kernel.CloseHandle(ctypes.c_void_p(opened))
        return False

else:

    def has_writer(_path: Path, _handle: int) -> bool | None:
        """This system cannot tell."""
        return None
