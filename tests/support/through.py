"""What a command gives to a user who may not run it: `oc exec`, `ssh` and the
like, by a socket of ours. The client hands its stdin, stdout and stderr over;
the server starts the command with them and hands its exit status back.

    through.py SOCKET WORD...    the client: starts the server's command + WORDs
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading


@contextlib.contextmanager
def serving(path, command):
    """Serves `command` at the socket `path` to everybody."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o777)
        listener.listen(8)

        def start(connection):
            with connection:
                words, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
                with subprocess.Popen(
                    [*command, *json.loads(words)],
                    stdin=descriptors[0],
                    stdout=descriptors[1],
                    stderr=descriptors[2],
                ) as process:
                    for descriptor in descriptors:
                        os.close(descriptor)
                with contextlib.suppress(OSError):
                    connection.sendall(b"%d\n" % (process.returncode % 256))

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=start, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def main():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        socket.send_fds(connection, [json.dumps(sys.argv[2:]).encode()], [0, 1, 2])
        # Theirs now: the end of the input must be seen there alone.
        for descriptor in (0, 1):
            os.close(descriptor)
        status = connection.makefile().readline()
    return int(status or 255)


if __name__ == "__main__":
    sys.exit(main())
