"""Where a store may lie: on a file system of this machine, readable by its owner alone."""

from __future__ import annotations

import os

from ..errors import StoreError

#: types of /proc/self/mountinfo on which locks or shared memory do not reach every process that could open the file
NETWORK = frozenset(
    """acfs 9p afs beegfs ceph cifs coda glusterfs gpfs lustre ncpfs nfs nfs4 orangefs pvfs2 smb smb3 smbfs""".split()  # noqa: SIM905
)
NETWORK_FUSE = frozenset(
    """blobfuse blobfuse2 ceph ceph-fuse curlftpfs davfs davfs2 gcsfuse geesefs glusterfs goofys
    google-drive-ocamlfuse juicefs mount-s3 nfs rclone s3fs smb sshfs""".split()  # noqa: SIM905
)
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


def file_system(path: str, mountinfo: str) -> str:
    """Return the type of the file system that holds `path`, by the text of /proc/self/mountinfo; "" if unknown."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mountinfo.splitlines():
        fields, separator, rest = line.partition(" - ")
        columns = fields.split()
        if not separator or len(columns) < 5 or not rest:
            continue
        point = _unescaped(columns[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of two mounts on one point the later one is seen
            best, kind = point, rest.split()[0]
    return kind


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def refusal(path: str, mountinfo: str) -> str | None:
    """Return the type of the network file system that `path` lies on, or None when a store may be there."""
    kind = file_system(path, mountinfo)
    _, fuse, subtype = kind.partition("fuse.")
    return kind if kind in NETWORK or (fuse and subtype in NETWORK_FUSE) else None


def check_place(directory: str) -> None:
    """Raise StoreError when a store in `directory` would lie on a network file system."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return  # not Linux: SQLite's own checks must do
    kind = refusal(directory, text)
    if kind is not None:
        raise StoreError(
            f"{directory} lies on a network file system ({kind}), where a store can be damaged: its locks and shared "
            "memory work on one machine only",
            "Keep the store on a local disk and name it: export AGENTCTL_STORE=/var/tmp/my-fleet/.agentctl",
        )


def open_to_others(directory: str) -> list[str]:
    """Return the store's files (and the folder) whose permissions let others in, with their modes."""
    found = []
    for name, allowed in (("", PRIVATE_FOLDER), *((name, PRIVATE_FILE) for name in _files(directory))):
        path = os.path.join(directory, name) if name else directory
        try:
            mode = os.stat(path, follow_symlinks=False).st_mode & 0o777
        except OSError:
            continue
        if mode & ~allowed:
            found.append(f"{name or os.path.basename(directory)} ({mode:o})")
    return found


def _files(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.startswith("store.db") or name.endswith(".lock"))
    except OSError:
        return []
