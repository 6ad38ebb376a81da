"""Runs a program in which io_uring is forbidden, as in a container.

    no_io_uring.py PROGRAM [ARGUMENT ...]

A seccomp filter answers io_uring_setup with EPERM and lets all else pass. The
program is ended with this script's parent, and after a minute at the latest.
"""

import ctypes
import os
import signal
import struct
import sys

IO_URING_SETUP = 425  # the same on every architecture
EPERM = 1
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
LOAD_NUMBER = (0x20, 0, 0, 0)
JUMP_UNLESS_SETUP = (0x15, 0, 1, IO_URING_SETUP)
REFUSE = (0x06, 0, 0, 0x00050000 | EPERM)
ALLOW = (0x06, 0, 0, 0x7FFF0000)

program = b"".join(
    struct.pack("HBBI", *step) for step in (LOAD_NUMBER, JUMP_UNLESS_SETUP, REFUSE, ALLOW)
)
steps = ctypes.create_string_buffer(program)
filter_ = struct.pack("HxxxxxxP", 4, ctypes.addressof(steps))

libc = ctypes.CDLL(None, use_errno=True)
for request in (
    (PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(filter_), 0, 0),
):
    if libc.prctl(*request) != 0:
        sys.exit(f"prctl{request[:2]}: {os.strerror(ctypes.get_errno())}")
signal.alarm(60)
os.execvp(sys.argv[1], sys.argv[1:])
