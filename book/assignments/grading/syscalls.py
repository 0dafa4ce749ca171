"""What a submission's process may not ask of Linux: memory that nobody counts, walls of its own.

A name space of its own would let it mount file systems in memory, and what `memfd_create` and
System V keep belongs to no process. The filter holds for the process and all that it starts.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# By machine: its number for the kernel, and the numbers of its system calls.
MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            "shmget": 29,
            "clone": 56,
            "msgget": 68,
            "mount": 165,
            "add_key": 248,
            "unshare": 272,
            "setns": 308,
            "memfd_create": 319,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "mount": 40,
            "unshare": 97,
            "msgget": 186,
            "shmget": 194,
            "add_key": 217,
            "clone": 220,
            "setns": 268,
            "memfd_create": 279,
        },
    ),
}
EVERYWHERE = {"io_uring_setup": 425, "memfd_secret": 447}
CLONE3 = 435  # its flags lie where no filter can look: without it, libraries take clone
SPACES = 0x7E020000  # the flags of `clone` that ask for name spaces
OTHER_CALLS = 0x40000000  # on x86_64, from here on: those with short pointers

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # where they lie
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NO_NEW_PRIVILEGES, SECCOMP, FILTER, ALL_THREADS = 38, {"x86_64": 317, "aarch64": 277}, 1, 1


def forbid() -> None:
    """From here on these calls fail, in this process and all that it starts.

    Nothing is forbidden on other systems and machines than `MACHINES`.

    Raises:
        OSError: the kernel takes no filter.
    """
    program, machine = compiled(), platform.machine()
    if not program:
        return
    code = ctypes.create_string_buffer(program)
    program = ctypes.create_string_buffer(
        struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    )
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.syscall(
        SECCOMP[machine], FILTER, ALL_THREADS, program
    ):
        number = ctypes.get_errno()
        raise OSError(number, f"no system call can be forbidden: {os.strerror(number)}")


def compiled() -> bytes:
    """The filter as the kernel takes it; nothing where there is none for this machine."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in MACHINES:
        return b""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in _program(machine))


def _program(machine: str) -> list[tuple[int, int, int, int]]:
    """Instructions: which one, how many to skip if so and if not, and a number."""
    number, calls = MACHINES[machine]
    program = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, number), (RETURN, 0, 0, KILL)]
    program += [(LOAD, 0, 0, NUMBER)]
    program += [(AT_LEAST, 0, 1, OTHER_CALLS), (RETURN, 0, 0, FAIL | errno.ENOSYS)]
    program += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, FAIL | errno.ENOSYS)]
    for name, call in (calls | EVERYWHERE).items():
        if name != "clone":
            program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, FAIL | errno.EPERM)]
    program += [(EQUAL, 0, 3, calls["clone"]), (LOAD, 0, 0, FIRST_ARGUMENT)]
    program += [(ANY_BIT, 0, 1, SPACES), (RETURN, 0, 0, FAIL | errno.EPERM)]
    return [*program, (RETURN, 0, 0, ALLOW)]
