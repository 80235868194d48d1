"""A small TPM 2.0 client over the control protocol of swtpm (a Unix socket), for the experiments of this folder."""

import array
import socket
import struct

# Control commands: swtpm's include/swtpm/tpm_ioctl.h. TPM commands: TCG TPM 2.0 Library, Part 3.
CMD_INIT, CMD_SHUTDOWN, CMD_SET_DATAFD = 2, 3, 16
NO_SESSIONS, SESSIONS = 0x8001, 0x8002
OWNER, PASSWORD_SESSION = 0x40000001, 0x40000009
STARTUP, NV_DEFINE_SPACE, NV_INCREMENT, NV_READ, NV_READ_PUBLIC = 0x144, 0x12A, 0x134, 0x14E, 0x169
COUNTER_ATTRIBUTES = 0x02060016  # counter; owner and authorization may write and read; no dictionary attack protection


class TpmError(Exception):
    def __init__(self, what, code):
        super().__init__(f"{what}: 0x{code:x}")
        self.code = code


class Tpm:
    """Initialises the TPM behind a control socket and starts it. Raises TpmError with the answer's code."""

    def __init__(self, path):
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(30)
        self._control.connect(str(path))
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with theirs:
            self._control.sendmsg([struct.pack(">I", CMD_SET_DATAFD)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
        self._answer("SET_DATAFD")
        self._control.sendall(struct.pack(">II", CMD_INIT, 0))
        self._answer("INIT")
        self._data = ours
        self._data.settimeout(30)
        self._call(NO_SESSIONS, STARTUP, struct.pack(">H", 0), accept={0x100})

    def _answer(self, what):
        code = struct.unpack(">I", self._receive(self._control, 4))[0]
        if code != 0:
            raise TpmError(what, code)

    @staticmethod
    def _receive(source, size):
        got = b""
        while len(got) < size:
            part = source.recv(size - len(got))
            if not part:
                raise ConnectionError("the vTPM has gone")
            got += part
        return got

    def _call(self, tag, command, body, accept=()):
        self._data.sendall(struct.pack(">HII", tag, 10 + len(body), command) + body)
        _, size, code = struct.unpack(">HII", self._receive(self._data, 10))
        rest = self._receive(self._data, size - 10)
        if code != 0 and code not in accept:
            raise TpmError(f"command 0x{command:x}", code)
        return rest

    @staticmethod
    def _password():
        return struct.pack(">IIHBH", 9, PASSWORD_SESSION, 0, 0, 0)

    def define_counter(self, index):
        public = struct.pack(">IHIHH", index, 0x0B, COUNTER_ATTRIBUTES, 0, 8)
        self._call(SESSIONS, NV_DEFINE_SPACE, struct.pack(">I", OWNER) + self._password() + struct.pack(">HH", 0, len(public)) + public)

    def increment(self, index):
        self._call(SESSIONS, NV_INCREMENT, struct.pack(">II", OWNER, index) + self._password())

    def read_counter(self, index):
        answer = self._call(SESSIONS, NV_READ, struct.pack(">II", OWNER, index) + self._password() + struct.pack(">HH", 8, 0))
        return struct.unpack(">Q", answer[6:14])[0]  # after the parameter size and the buffer's size

    def has_index(self, index):
        try:
            self._call(NO_SESSIONS, NV_READ_PUBLIC, struct.pack(">I", index))
            return True
        except TpmError as error:
            if error.code & 0xFF == 0x8B:  # TPM_RC_HANDLE
                return False
            raise

    def close(self):
        self._data.close()
        self._control.close()

