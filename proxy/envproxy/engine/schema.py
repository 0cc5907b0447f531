"""The tables of the catalog, as the list of steps that lead to them.

`PRAGMA user_version` counts the steps a file has taken. A step, once released, is never edited: add another. Large
columns come last, so that the small ones before them are read without walking overflow pages.
"""

from __future__ import annotations

_V1 = (
    """
    CREATE TABLE pages (
        source TEXT NOT NULL,
        project TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('known', 'absent', 'gone')),
        fingerprint TEXT NOT NULL,
        etag TEXT,
        last_modified TEXT,
        changed_at REAL NOT NULL,
        checked_at REAL NOT NULL,
        fresh_until REAL NOT NULL,
        body BLOB, -- zstd
        PRIMARY KEY (source, project)
    ) STRICT
    """,
    """
    CREATE TABLE artifacts (
        source TEXT NOT NULL,
        project TEXT NOT NULL,
        filename TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        url TEXT NOT NULL,
        upload_time TEXT,
        first_seen REAL NOT NULL,
        PRIMARY KEY (source, project, filename, sha256)
    ) STRICT
    """,
    """
    CREATE TABLE sidecars (
        wheel_key TEXT PRIMARY KEY,
        metadata_sha256 TEXT, -- NULL: this wheel has no servable metadata
        reason TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE blobs (
        sha256 TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('artifact', 'metadata', 'listing')),
        stored_at REAL NOT NULL,
        last_used REAL NOT NULL,
        uses INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE pins (
        sha256 TEXT NOT NULL,
        reason TEXT NOT NULL,
        pinned_at REAL NOT NULL,
        PRIMARY KEY (sha256, reason)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE hosted_files (
        source TEXT NOT NULL,
        project TEXT NOT NULL,
        filename TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        metadata_sha256 TEXT,
        requires_python TEXT,
        upload_time TEXT NOT NULL,
        yanked TEXT, -- NULL: not yanked; else the reason, possibly empty
        version TEXT NOT NULL,
        uploader TEXT NOT NULL,
        PRIMARY KEY (source, filename)
    ) STRICT
    """,
    "CREATE INDEX hosted_files_by_project ON hosted_files (source, project)",
    # What every filename ever meant. Rows outlive their file: a deleted name must not come back with other bytes.
    """
    CREATE TABLE hosted_names (
        source TEXT NOT NULL,
        filename TEXT NOT NULL,
        project TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (source, filename)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX hosted_names_by_project ON hosted_names (source, project)",
)

_V2 = (
    """
    CREATE TABLE channel_files (
        channel TEXT NOT NULL,
        path TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('known', 'absent', 'gone')),
        sha256 TEXT NOT NULL, -- empty: absent or gone
        server TEXT NOT NULL,
        etag TEXT,
        last_modified TEXT,
        checked_at REAL NOT NULL,
        fresh_until REAL NOT NULL,
        PRIMARY KEY (channel, path)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE generations (
        channel TEXT NOT NULL,
        place TEXT NOT NULL,
        line TEXT NOT NULL CHECK (line IN ('relayed', 'made')),
        source TEXT NOT NULL,
        policy TEXT NOT NULL,
        index_sha256 TEXT NOT NULL,
        manifest TEXT NOT NULL,
        flat_json TEXT NOT NULL,
        flat_zst TEXT NOT NULL,
        base_url TEXT NOT NULL,
        shards_url TEXT NOT NULL,
        made_at REAL NOT NULL,
        flips_at REAL,
        PRIMARY KEY (channel, place, line)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE old_shards (
        channel TEXT NOT NULL,
        place TEXT NOT NULL,
        digest BLOB NOT NULL,
        pack TEXT NOT NULL,
        start INTEGER NOT NULL,
        length INTEGER NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (channel, place, digest)
    ) STRICT, WITHOUT ROWID
    """,
    # A deleted package keeps its row: its name must not come back with other bytes.
    """
    CREATE TABLE hosted_packages (
        channel TEXT NOT NULL,
        subdir TEXT NOT NULL,
        filename TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size INTEGER NOT NULL,
        uploaded_at REAL NOT NULL,
        uploader TEXT NOT NULL,
        yanked INTEGER NOT NULL,
        deleted INTEGER NOT NULL DEFAULT 0,
        record BLOB NOT NULL,
        PRIMARY KEY (channel, subdir, filename)
    ) STRICT
    """,
)

_V3 = (
    """
    CREATE TABLE scrubs (
        number INTEGER PRIMARY KEY,
        ended_at REAL NOT NULL,
        checked INTEGER NOT NULL,
        corrupt INTEGER NOT NULL
    ) STRICT
    """,
)

_V4 = (
    # One row: up to which byte of the ledger of uploads these tables say what it says.
    "CREATE TABLE ledger (read_bytes INTEGER NOT NULL) STRICT",
    "INSERT INTO ledger (read_bytes) VALUES (0)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_V1, _V2, _V3, _V4)
