"""Folders that agents filled: whatever they made of them is looked at and removed entry by entry.

An agent may nest folders deeper than a stack or the name of a path goes, and put more into one than can be looked at in
one go. So nothing here calls itself, and whoever asks can stop after any entry.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BLOCK = 512  #: bytes of st_blocks
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def disk_bytes(folder: str) -> Iterator[int]:
    """Yield what each entry in a folder, and below it, takes of the disk; links are not followed.

    Not seen is what cannot be opened, and what lies deeper than a path can name (PATH_MAX). Raises nothing.
    """
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK
        except OSError:
            pass  # it is going: what was seen of it counts


def removing(folder: str) -> Iterator[bool]:
    """Remove a folder and all that is in it; yield after each entry whether it went.

    Who stops asking leaves the rest, which can be removed later. What cannot be removed stays, and the folder with it:
    whether it is gone is to be looked at. Raises nothing.
    """
    try:
        top = _open(folder, None)
    except OSError:
        yield _went(os.unlink, folder, None)  # no folder, but perhaps a file or a link
        return
    try:
        moved = True
        while moved:  # more than once: what is brought up while the folder is listed may not be in the list
            moved = False
            for went in _flatten(top):
                moved |= went
                yield went
    except OSError:
        pass  # a list that breaks off; what is left is seen by who looks
    finally:
        os.close(top)
    _went(os.rmdir, folder, None)


def _flatten(top: int) -> Iterator[bool]:
    """Remove what is in `top`; a folder two levels down is brought up into it, to be removed later."""
    with os.scandir(top) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield _went(os.unlink, entry.name, top)
                continue
            try:
                within = _open(entry.name, top)
            except OSError:
                yield False
                continue
            try:
                with os.scandir(within) as below:
                    for one in below:
                        remove = _bring_up(top) if one.is_dir(follow_symlinks=False) else os.unlink
                        yield _went(remove, one.name, within)
            finally:
                os.close(within)
            yield _went(os.rmdir, entry.name, top)


def _open(name: str, parent: int | None) -> int:
    """Open a folder so that entries can be taken out of it, whatever its owner, who is us, made of its mode."""
    try:
        found = os.open(name, _OPEN, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        found = os.open(name, _OPEN, dir_fd=parent)
    try:
        os.fchmod(found, 0o700)
    except OSError:
        pass  # somebody else's, who perhaps lets us in all the same
    return found


def _bring_up(top: int) -> Callable[..., None]:
    def bring(name: str, *, dir_fd: int | None) -> None:
        fresh = os.urandom(8).hex()  # a name that no agent can have taken
        try:
            os.rename(name, fresh, src_dir_fd=dir_fd, dst_dir_fd=top)
        except PermissionError:  # a folder that may not be written to cannot change its parent
            os.chmod(name, 0o700, dir_fd=dir_fd)
            os.rename(name, fresh, src_dir_fd=dir_fd, dst_dir_fd=top)

    return bring


def _went(act: Callable[..., None], name: str, parent: int | None) -> bool:
    try:
        act(name, dir_fd=parent)
    except OSError:
        return False
    return True
