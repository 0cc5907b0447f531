"""One peer of a torrent, for `bench.torrent`: run by the Python that has libtorrent, needs nothing else.

    torrent_peer.py make FILE TORRENT
    torrent_peer.py share TORRENT FOLDER HOST [PEER ...]

A peer says "up" and waits for a line. Then it takes the artifact from the others, and says its SHA-256 once all of it
is on disk. For each line after that it says how many bytes of payload it has sent.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import libtorrent as lt  # type: ignore[import-not-found]  # in a virtual environment of its own (install.sh)

PIECE_BYTES = 1 << 20
SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "allow_multiple_connections_per_ip": True,  # on one machine all peers have one address
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.storage_notification,
    # As shipped, a peer that is lost costs a minute: these are for a network that is near.
    "request_timeout": 4,
    "piece_timeout": 3,
    "min_reconnect_time": 1,
    "request_queue_time": 1,
    "max_out_request_queue": 250,
    "unchoke_interval": 2,
    "strict_end_game_mode": False,
}


def make(file: Path, torrent: Path) -> None:
    made = lt.create_torrent(lt.list_files(str(file)), PIECE_BYTES, lt.create_torrent.v2_only)
    made.set_priv(True)
    lt.set_piece_hashes(made, str(file.parent))
    torrent.write_bytes(lt.bencode(made.generate()))


def share(torrent: Path, folder: Path, host: str, port: int, peers: list[tuple[str, int]]) -> None:
    session = lt.session({**SETTINGS, "listen_interfaces": f"{host}:{port}"})
    wanted = lt.load_torrent_file(str(torrent))
    name = wanted.ti.name()
    wanted.save_path = str(folder)
    wanted.peers = peers
    wanted.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    wanted.flags |= lt.torrent_flags.seed_mode if (folder / name).exists() else lt.torrent_flags.no_verify_files
    print("up", flush=True)
    sys.stdin.readline()
    handle = session.add_torrent(wanted)
    until(session, handle, lt.torrent_finished_alert)
    handle.flush_cache()
    until(session, handle, lt.cache_flushed_alert)
    with (folder / name).open("rb") as file:
        print(hashlib.file_digest(file, "sha256").hexdigest(), flush=True)
    for _ in sys.stdin:
        print(handle.status().total_payload_upload, flush=True)


def until(session: lt.session, handle: lt.torrent_handle, kind: type) -> None:
    while not (kind is lt.torrent_finished_alert and handle.status().is_seeding):
        session.wait_for_alert(100)
        if any(isinstance(alert, kind) for alert in session.pop_alerts()):
            return


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        hosts = [(host, int(port)) for host, _, port in (word.partition(":") for word in sys.argv[4:])]
        share(Path(sys.argv[2]), Path(sys.argv[3]), *hosts[0], hosts[1:])
