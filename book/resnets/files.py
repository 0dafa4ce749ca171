"""Write a file whole or not at all."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it to `path` when the block ends well.

    If the block fails (a full disk, Ctrl-C), `path` is as it was and the temporary file is gone.
    Others may read the file if the umask lets them.

    Raises:
        OSError: the file cannot be written; the message names `path`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.touch(exist_ok=False)  # not mkstemp, whose files nobody else may read
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror}): "
            "free some disk space or choose a folder that you may write to",
        ) from error
