"""Hostile file names, by what they try. Text as a client may send it; ``\\udcXX`` is the byte XX that is no UTF-8."""

WINDOWS_DEVICES = ["CON", "PRN", "AUX", "NUL", "COM1", "COM9", "COM¹", "LPT1", "LPT9", "CONIN$", "CONOUT$", "COM0"]
JOB = "5e0f6c3a-2b0e-5d0f-9c0a-6a1f0c2d7b11"
"""Shaped like one of our job ids."""

NAMES: dict[str, list[str]] = {
    # Leads out of the folder where a name is joined to it.
    "traversal": [
        "..",
        ".",
        "...",
        "../x.tif",
        "../../etc/passwd",
        "..\\x.tif",
        "..\\..\\windows\\win.ini",
        "a/../../x.tif",
        "./x.tif",
        "a/./x.tif",
        "x/..",
        "....//x.tif",
        "..;/x.tif",
        "..\x00/x.tif",
        "a/b.tif",
        "a//b.tif",
        "a/",
        "input/../../../x.tif",
        "..a",
        "a..",
        "a..tif",
        "..tif",
    ],
    # Replaces the folder instead of adding to it.
    "absolute": [
        "/etc/passwd",
        "//etc/passwd",
        "/",
        "///",
        "/dev/zero",
        "/dev/full",
        "/proc/self/environ",
        "/tmp/x.tif",
        "~",
        "~root/x.tif",
        "~/.ssh/authorized_keys",
        "file:///etc/passwd",
        "http://127.0.0.1/x.tif",
    ],
    # The same, as Windows has it: drives, shares, namespaces.
    "drives and shares": [
        "C:\\x.tif",
        "C:x.tif",
        "c:/x.tif",
        "\\\\server\\share\\x.tif",
        "//server/share/x.tif",
        "\\x.tif",
        "\\\\?\\C:\\x",
        "\\\\.\\PhysicalDrive0",
        "\\\\.\\pipe\\x",
        "\\??\\C:\\x",
        "D:",
        "a\\b.tif",
        "\\",
    ],
    # Opens a device on Windows, whatever the extension and capitals.
    "devices": [
        *WINDOWS_DEVICES,
        *(f"{name}.tif" for name in WINDOWS_DEVICES),
        "con.tif.png",
        "nul .tif",
        "Aux.",
        "lpt1 ",
        "CoN.x",
        "CLOCK$",
        "CONSOLE.tif",
    ],
    # Windows drops these at the end, and then it is another file.
    "endings": ["a.tif.", "a.tif..", "a.tif ", "a.tif . .", ".", " ", "  ", "a.tif\t", ". .", "\u00a0", "a.tif\u3000"],
    # A second content of a file on NTFS.
    "streams": ["a.tif:x", "a.tif::$DATA", "a:b:c.tif", ":", ":x.tif", "a.tif:Zone.Identifier", "12:30:05.tif"],
    # Forbidden on Windows, meaningful to shells and globs.
    "globs": [
        "*",
        "*.tif",
        "?.tif",
        "[a-z].tif",
        "[!a].tif",
        "{a,b}.tif",
        "**",
        "a<b>.tif",
        "a|b.tif",
        'a"b.tif',
        "[]",
        "[.tif",
    ],
    # Ends lines, erases them, beeps, ends strings.
    "control characters": [
        *(f"a{chr(code)}b.tif" for code in (0, 1, 7, 8, 9, 10, 11, 12, 13, 26, 27, 31, 127, 0x80, 0x85, 0x9B)),
        "\n",
        "\r\n.tif",
        "a\n2026-01-01 ERROR   forged: line.tif",
        "a\rb\rc.tif",
    ],
    # Colours, moves the cursor, sets the window's title, answers back into the shell.
    "terminal": [
        "\x1b[31mred.tif",
        "\x1b[2J.tif",
        "\x1b]0;title\x07.tif",
        "\x1b[6n.tif",
        "\x9b31m.tif",
        "a\x1bPq#0.tif",
        "[red]a[/red].tif",
        "[link=http://x]a.tif",
    ],
    # Shows as another name than it is.
    "writing direction": ["a\u202efit.exe.tif", "\u202d.tif", "\u2066a\u2069.tif", "\u061ca.tif", "\u200fa\u200e.tif"],
    # Two names that look the same.
    "invisible": [
        "a\u200bb.tif",
        "a\u200d.tif",
        "\ufeffa.tif",
        "a\u00adb.tif",
        "a\u2060.tif",
        "\u3164.tif",
        "a\U000e0041.tif",
    ],
    # Becomes a slash, a dot or a backslash once somebody normalises it.
    "look-alikes": [
        "\uff0e\uff0e\uff0fx.tif",
        "\u2024\u2024/x.tif".replace("/", "\u2044"),
        "\u2215etc.tif",
        "a\uff3cb.tif",
        "\u2025.tif",
        "\u29f8x.tif",
        "a\u2216b.tif",
        "\u3002\u3002.tif",
        "\uff0eparts",
    ],
    # Equal to a Mac and a person, different to everybody else.
    "composed and not": [
        "caf\u00e9.tif",
        "cafe\u0301.tif",
        "\u212bngstrom.tif",
        "\u00c5ngstrom.tif",
        "\uac00.tif",
        "\u1100\u1161.tif",
    ],
    # Longer than a file system or a result's name has room for.
    "long": [
        "x" * 251 + ".tif",
        "x" * 250 + ".tif",
        "x" * 252 + ".tif",
        "x" * 255,
        "x" * 256,
        "x" * 4096,
        "\u00e9" * 127 + "x",
        "\u00e9" * 128,
        "a." + "b" * 253,
        "\U0001f600" * 63,
        "." * 255,
        "x" * 200 + ".tif",
        "a" + ".tif" * 63,
        "\u20ac" * 84 + ".tf",
        "x" * 70_000,
    ],
    # No text at all.
    "not UTF-8": [
        "a\udcff.tif",
        "\udc80",
        "\udcc0\udcae\udcc0\udcae\udcc0\udcaf.tif",
        "a\udced\udca0\udc80.tif",
        "\udcfe\udcff",
    ],
    # Half of a pair: JSON can say it, UTF-8 cannot.
    "surrogates": ["\ud800.tif", "a\udbff.tif", "\ud83dx.tif"],
    # An option to a program that is called with it.
    "dashes": ["-", "--", "-rf", "--help", "-o/etc/x.tif", "--data=x.tif"],
    # Runs something where it is pasted into a command.
    "shell": [
        "$(reboot).tif",
        "`id`.tif",
        "a;b.tif",
        "a&&b.tif",
        "a|tee b".replace("/", ""),
        "$HOME.tif",
        "%PATH%.tif",
        "!!.tif",
        "a'b.tif",
        "a\\'b",
        "^x",
    ],
    # Ends a string where it is pasted into JSON, HTML, SQL, XML, LDAP, YAML.
    "quoting": [
        '"},{"Id":"x',
        "</script><script>alert(1)<",
        "<img src=x onerror=alert(1)>",
        "'; DROP TABLE job; --",
        "' OR '1'='1",
        "%' ESCAPE '",
        "_%",
        "]]>",
        "&amp;.tif",
        "&lt;x",
        "!!python x.tif",
        "{{7*7}}.tif",
        "${jndi:ldap:x}",
        "#{1}.tif",
    ],
    # A formula where it comes first in a cell.
    "formulas": ["=1+1.tif", "+1.tif", "@SUM(A1).tif", "=cmd|' C'!A0", "\t=1.tif"],
    # Read by printf, format and logging.
    "formats": ["%s%s%n.tif", "%(name)s.tif", "{0.__class__}.tif", "{}", "%", "%d.tif", "{job_id}"],
    # A path once somebody decodes it, or does so twice.
    "percent": [
        "%2e%2e%2fx.tif",
        "..%2fx.tif",
        "%252e%252e%252f",
        "%00.tif",
        "%0a.tif",
        "%5c.tif",
        "%c0%ae%c0%ae",
        "a%20b.tif",
        "%",
        "%zz.tif",
    ],
    # Hidden, or configuration of a program that looks for it.
    "hidden": [
        ".htaccess",
        ".tif",
        "..tif.",
        ".git",
        ".bashrc",
        ".DS_Store",
        "desktop.ini",
        "Thumbs.db",
        "autorun.inf",
    ],
    # Our own names for what is not whole yet, and for what was put aside.
    "ours": [
        f".{JOB}~1.part",
        ".uploads",
        ".UPLOADS",
        ".parts",
        f".a.tif.{JOB}.damaged",
        JOB,
        f"{JOB}.note",
        "a.part",
        "edge.db",
        "gateway.db-wal",
        "running.json",
        "a_archive_x_1_input.tif",
        ".running.json.part",
        "archive",
        "input",
    ],
    # What the simulator makes of the image next to it.
    "outputs": ["a-sim.tif", "a.tif", "a-sim-sim.tif", "A-SIM.TIF", "A.TIF", "a-sim", "a"],
    # Without a character to call it by, or with numbers that are no numbers.
    "odd": [
        "",
        "0",
        "null",
        "None",
        "NaN",
        "true",
        "undefined",
        "\u0661\u0662.tif",
        "1e999.tif",
        "-0",
        "\U0001f469\u200d\U0001f52c.tif",
    ],
}

ALL = [name for names in NAMES.values() for name in names]


def can_exist(name: str) -> bool:
    """Whether a POSIX file system takes the name."""
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return name not in (".", "..") and 0 < len(raw) <= 255 and not {"/", "\0"} & set(name)
