"""Plug-ins that behave, and many that do not. Found by workers as ``rogues:Nothing``."""

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Mapping
from typing import ClassVar

from pipelines import delivery
from pipelines.plugin import BadInput, Later, Parameter, Result, Work


class Plugin:
    topic = "rogue"
    name = "Rogue"
    description = "for tests"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def run(self, work: Work) -> Result:
        return Result()


class Nothing(Plugin):
    """Does nothing, and says in which process."""

    def run(self, work: Work) -> Result:
        return Result(results=str(os.getpid()))


class Writes(Plugin):
    """Writes each parameter's text into a file of the parameter's name."""

    def run(self, work: Work) -> Result:
        for name, text in work.parameters.items():
            (work.folder / name).write_text(text)
        return Result(tuple(work.parameters), results=",".join(sorted(os.listdir(work.folder))), qc_flags="passed")


class Names(Plugin):
    """Names as outputs what it is told to, having written only ``there`` and the folder ``sub``."""

    def run(self, work: Work) -> Result:
        (work.folder / "there").write_text("x")
        (work.folder / "sub").mkdir()
        (work.folder / "sub" / "inner").write_text("x")
        if sys.platform != "win32":
            (work.folder / "link").symlink_to(work.image)
        return Result(tuple(work.parameters["names"].split("|")))


class Complains(Plugin):
    def run(self, work: Work) -> Result:
        raise BadInput(f"{work.image.name} is a poem; bring an image")


class Awaits(Plugin):
    def run(self, work: Work) -> Result:
        raise Later("waits for the\nmodel server", 7.5)


class Fails(Plugin):
    def run(self, work: Work) -> Result:
        raise ValueError("seven is\nnot a colour " + "x" * 5000)


class Leaves(Plugin):
    def run(self, work: Work) -> Result:
        sys.exit(4)


class Vanishes(Plugin):
    """Takes the interpreter with it, leaving rubbish behind."""

    def run(self, work: Work) -> Result:
        (work.folder / "rubbish").write_text("half an output")
        os._exit(3)


class VanishesLate(Plugin):
    """Takes the interpreter with it once its output has its name, before anybody can be told."""

    def run(self, work: Work) -> Result:
        (work.folder / "late").write_text("an output")
        delivery.sync_folder = lambda path: os._exit(3)  # in this process alone
        return Result(("late",))


class Segfaults(Plugin):
    def run(self, work: Work) -> Result:
        ctypes.string_at(0)
        return Result()


class Hangs(Plugin):
    """Writes its process id to ``work.attributes["note"]`` and never returns."""

    def run(self, work: Work) -> Result:
        if "note" in work.attributes:
            with open(work.attributes["note"] + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.replace(work.attributes["note"] + ".new", work.attributes["note"])
        threading.Event().wait()
        return Result()


class Calls(Plugin):
    """Has a program do the work that does not come back; it writes its process id to ``work.attributes["note"]``."""

    def run(self, work: Work) -> Result:
        note = work.attributes["note"]
        os.system(f"echo $$ > '{note}.new'; mv '{note}.new' '{note}'; exec sleep 60")
        return Result()


class Hogs(Plugin):
    """Takes 4 GiB of memory, as far as the limit goes: nothing is written there, which is what takes time."""

    def run(self, work: Work) -> Result:
        return Result(results=str(len(bytes(4 << 30))))


KEPT: list[bytes] = []


class Keeps(Plugin):
    """Takes 1 GiB of address space and never gives it back; says in which process."""

    def run(self, work: Work) -> Result:
        KEPT.append(bytes(1 << 30))
        return Result(results=str(os.getpid()))


class Speaks(Plugin):
    """Tells how its process is furnished."""

    def run(self, work: Work) -> Result:
        return Result(results=os.environ.get("OMP_NUM_THREADS", "unset"))


class Lies(Plugin):
    def run(self, work: Work) -> Result:
        return "all is well"  # type: ignore[return-value]


class Unmakable(Plugin):
    def __init__(self) -> None:
        raise RuntimeError("no licence found")


class Deadly(Plugin):
    """Kills the process that makes it."""

    def __init__(self) -> None:
        os._exit(9)


class Fills(Plugin):
    """Meets a disk without room."""

    def run(self, work: Work) -> Result:
        raise OSError(errno.ENOSPC, "No space left on device")


class Wraps(Plugin):
    """As above, told in words of its own."""

    def run(self, work: Work) -> Result:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("cannot write the labels") from error
