"""What the studio takes: sizes, numbers and times, so that nobody can fill its memory, disk or connections."""

from __future__ import annotations

from dataclasses import dataclass

MB = 10**6


@dataclass(frozen=True)
class Limits:
    """Bytes where nothing else is said."""

    photo_bytes: int = 1000 * MB
    video_bytes: int = 20_000 * MB
    zip_bytes: int = 20_000 * MB
    photo_pixels: int = 300_000_000
    photos_a_house: int = 5000
    houses: int = 2000
    open_uploads: int = 6000
    open_jobs: int = 200
    zip_ratio: float = 20.0
    """how much larger than its zip the content may be: photos hardly shrink"""
    free_disk_bytes: int = 500 * MB
    """kept free: uploads are refused before the disk is full"""
    json_bytes: int = 1 << 18
    title_length: int = 120
    name_length: int = 200
    request_head_s: float = 15.0
    """until a request's head must be there"""
    silence_s: float = 30.0
    """without a byte of a body going either way"""
    connections: int = 600
    streams: int = 64
    """open streams of events"""
